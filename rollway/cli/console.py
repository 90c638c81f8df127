"""Standard output and standard error of a command, which nothing that is printed can break.

The invariant: neither a reader that leaves (``rollway eval ... | head``, a connection that drops), nor a full
disk behind ``>``, nor a letter that the terminal cannot say ends a command, or changes its exit code. What
nobody can read any more is discarded, and a run goes on writing to disk.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console

_READER_LEFT = frozenset({errno.EPIPE, errno.EIO, errno.EBADF})
"""Errors that need no word: who would read it has gone."""


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let ``sys.stdout`` and ``sys.stderr`` last through a command."""
    before = sys.stdout, sys.stderr
    with ExitStack() as held:
        for name, stream in zip(("stdout", "stderr"), before, strict=True):
            lasting = LastingStream(held.enter_context(_any_letter(stream)))
            held.callback(lasting.flush)
            setattr(sys, name, lasting)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextmanager
def _any_letter(stream: IO[str] | None) -> Iterator[IO[str]]:
    """The stream, with what its encoding cannot say written as ``\\xb7`` or ``\\u2026``."""
    if stream is None:  # it was closed before Python began
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            yield nowhere
        return
    reconfigure, errors = getattr(stream, "reconfigure", None), getattr(stream, "errors", None)
    if reconfigure is None or errors is None:
        yield stream
        return
    reconfigure(errors="backslashreplace")
    try:
        yield stream
    finally:
        reconfigure(errors=errors)


def run_console() -> Console:
    """Standard output, for `rollway.evaluation.evaluate`."""
    from rich.console import Console  # `rollway --help` needs none

    return Console(file=cast(IO[str], LastingStream(sys.stdout)))


class LastingStream:
    """A stream that ignores write errors. The first that is not for want of a reader is told on standard
    error."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError as error:  # of a stream that cannot be told how to replace letters
            told = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
            return self._stream.write(told)
        except OSError as error:
            self._leave(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        """Discard everything from here on, including what the stream still buffers."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if error.errno not in _READER_LEFT and self._stream is not sys.__stderr__:
            print(f"rollway: cannot write to standard output: {error.strerror}", file=sys.stderr)
