"""Where a run is told of: a terminal, a file, or a pipe. Its reader may leave before the run has ended, as in
``rollway eval ... | head``, or when a connection is lost; the run goes on, and is on disk.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Any, cast

from rich.console import Console


def run_console() -> Console:
    """The standard output, which falls silent when nobody can read it any more."""
    return Console(file=cast(IO[str], _Leavable(sys.stdout)))


class _Leavable:
    """A stream whose faults go unheard."""

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
        """From here on everything goes nowhere, what the stream still holds included."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
