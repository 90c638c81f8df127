"""What a command in a container wrote: its beginning, its end, and the line that tells that it is over.

What comes after that line was written by something the command left behind, and is not kept.
"""

from __future__ import annotations

import re
from typing import IO

NONCE_LENGTH = 32  # characters


class EndLine:
    """Finds the line ``<nonce> <exit code>`` in what an output brings, and holds back only what it must."""

    def __init__(self, nonce: str) -> None:
        self._line = re.compile(nonce.encode() + rb" (\d{1,3})\n")
        self._beginning = re.compile(_any_beginning(nonce) + rb"\Z")
        self._held = b""  # may be the beginning of the line
        self.exit_code: int | None = None  # set once the line has come

    def feed(self, data: bytes) -> bytes:
        """The command's own part of it, as far as that is certain."""
        if self.exit_code is not None:
            return b""
        data = self._held + data
        line = self._line.search(data)
        if line is not None:
            self.exit_code = int(line[1])
            self._held = b""
            return data[: line.start()]
        beginning = self._beginning.search(data, max(0, len(data) - NONCE_LENGTH - len(" 256")))
        at = len(data) if beginning is None else beginning.start()
        self._held = data[at:]
        return data[:at]

    def rest(self) -> bytes:
        """What was held back and turned out not to be the line."""
        held, self._held = self._held, b""
        return held


def _any_beginning(nonce: str) -> bytes:
    """A pattern for each text that the closing line may begin with, shortest last."""
    pattern = rb"(?: \d{0,3})?"
    for character in reversed(nonce[1:]):
        pattern = b"(?:" + character.encode() + pattern + b")?"
    return nonce[0].encode() + pattern


class CommandOutput:
    """One output of one command, fed as it comes. Holds at most about twice ``keep`` bytes."""

    def __init__(self, nonce: str, keep: int | None, file: IO[bytes] | None = None) -> None:
        """Args: ``keep`` bytes are kept, half of the beginning and half of the end; ``None`` keeps all. A
        ``file`` gets it all instead."""
        self._line = EndLine(nonce)
        self._file = file
        self._fault: OSError | None = None  # of the file
        self._head_room = None if keep is None else keep - keep // 2
        self._tail_room = 0 if keep is None else keep // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    @property
    def exit_code(self) -> int | None:
        """What the command ended with, once that was told."""
        return self._line.exit_code

    def feed(self, data: bytes) -> None:
        self._keep(self._line.feed(data))

    def finish(self) -> tuple[bytes, int]:
        """What was kept, and how many bytes are missing from its middle.

        Raises:
            OSError: the file could not be written.
        """
        self._keep(self._line.rest())
        if self._fault is not None:
            raise self._fault
        if self._file is not None:
            return b"", 0
        del self._tail[: max(0, len(self._tail) - self._tail_room)]
        kept = bytes(self._head + self._tail)
        return kept, self.total - len(kept)

    def _keep(self, data: bytes) -> None:
        self.total += len(data)
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:
                self._fault = error
            return
        room = len(data) if self._head_room is None else self._head_room - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_room:
            del self._tail[: len(self._tail) - self._tail_room]
