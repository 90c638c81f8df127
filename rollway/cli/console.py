"""Standard output of a run: a terminal, a file, or a pipe. Its reader may leave before the run ends, as in
``rollway eval ... | head`` or when a connection drops; the run continues and keeps writing to disk.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Any, cast

from rich.console import Console


def run_console() -> Console:
    """Standard output, which discards text once nobody reads it."""
    return Console(file=cast(IO[str], _Leavable(sys.stdout)))


class _Leavable:
    """A stream that ignores write errors."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._leave()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._leave()

    def _leave(self) -> None:
        """Discard everything from here on, including what the stream still buffers."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
