"""What a command writes: read from a pipe, and kept up to a limit."""

from __future__ import annotations

PIPE_READ = 1 << 16  # bytes that are read of a pipe at once


class Kept:
    """The beginning and the end of an output; what lies between is counted and dropped."""

    def __init__(self, limit: int) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._head_limit, self._tail_limit = limit - limit // 2, limit // 2
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self._head_limit - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(0, room) :]
        if len(self._tail) > 2 * self._tail_limit + PIPE_READ:
            self._trim()

    def _trim(self) -> None:
        del self._tail[: max(0, len(self._tail) - self._tail_limit)]

    def content(self) -> bytes:
        self._trim()
        return bytes(self._head + self._tail)


class Output:
    """One pipe that a command writes to."""

    def __init__(self, file: int, kept: Kept) -> None:
        self.file = file
        self.kept = kept
        self.open = True
