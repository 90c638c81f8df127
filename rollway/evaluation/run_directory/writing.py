"""An open run, written to: each rollout that ends is entered once, in a whole line.

The invariant: a line is in its file, whole, when `RunDirectory.append` returns; no line of a key that is on
record is written, and nothing is ever glued to half a line.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

from rollway.errors import UserError
from rollway.evaluation.keys import KeySet
from rollway.evaluation.run_directory.endings import reason_to_set_aside
from rollway.evaluation.run_directory.parts import next_part, part_files, rewrite_part, write_all
from rollway.evaluation.tasks import Key

PART_BYTES = 256 * 2**20
"""A part that has grown beyond this is closed and the next begun."""

_log = logging.getLogger(__name__)


class RunDirectory:
    """An open run, locked. Close it, or use it as a context manager.

    ``done`` are the keys that are on record for good. Before it is appended to, `take_stock` says which they
    are, and `clear_away` makes them the only ones.
    """

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self.done = KeySet()
        self._lock = lock
        self._part: IO[bytes] | None = None
        self._syncer = ThreadPoolExecutor(1, "rollway-sync")  # its thread begins with the first full part
        self._syncing: Future[None] | None = None
        self._aside: IO[bytes] | None = None
        self._uncounted: dict[Path, dict[int, str]] = {}  # the lines of each part that are to be cleared away

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring everything to the disk and let the next driver in.

        Raises:
            OSError: not all of it is on the disk.
        """
        try:
            self.sync()
        finally:
            self._syncer.shutdown()
            if self._aside is not None:
                self._aside.close()
                self._aside = None
            self._lock.close()

    def append(self, key: Key, line: bytes) -> None:
        """Write one rollout that ended. It is in the file, whole, when this returns.

        Raises:
            ValueError: this key is already on disk.
            OSError: it could not be written, and what was written of it has been cut off again; or the part
                before could not be brought to the disk.
        """
        if key in self.done:
            raise ValueError(f"rollout {key} is already on disk")
        if self._part is not None and self._part.tell() >= PART_BYTES:
            self._leave_part()
        if self._part is None:
            self._part = next_part(self.path).open("xb", buffering=0)
        began = self._part.tell()
        try:
            write_all(self._part, line + b"\n")
        except BaseException:
            self._cut_off(began)
            raise
        self.done.add(key)

    def set_aside(self, line: bytes) -> None:
        """Keep a line that does not count."""
        if self._aside is None:
            self._aside = (self.path / "set_aside.jsonl").open("ab", buffering=0)
        began = self._aside.seek(0, os.SEEK_END)
        try:
            write_all(self._aside, line.rstrip(b"\n") + b"\n")
        except BaseException:
            with suppress(OSError):
                self._aside.truncate(began)
            raise

    def rewrite(self, change: Callable[[bytes], bytes | None]) -> None:
        """Put every stored line through ``change``; ``None`` takes it out. A part is replaced in one step,
        or, when no line of it changed, left alone."""
        self.sync()
        for part in part_files(self.path):
            rewrite_part(part, change)

    def _cut_off(self, end: int) -> None:
        """Take half a line off the part again. Where even that fails, nothing may follow it in its part."""
        part = self._part
        assert part is not None
        try:
            part.truncate(end)
            part.seek(end)
        except OSError:
            self._part = None
            part.close()

    def _leave_part(self) -> None:
        """Bring the full part to the disk while the next one is written: that takes a tenth of a second, and
        the caller may be an event loop. No more than one part at a time is on its way."""
        self._wait_for_sync()
        part, self._part = self._part, None
        assert part is not None
        self._syncing = self._syncer.submit(_sync, part)

    def sync(self) -> None:
        """Bring all parts to the disk.

        Raises:
            OSError: not all of them are there.
        """
        part, self._part = self._part, None
        try:
            if part is not None:
                _sync(part)
        finally:
            self._wait_for_sync()

    def _wait_for_sync(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def take_stock(self, is_asked: Callable[[Key], bool], tasks: Iterable[str] = ()) -> None:
        """Read what is there: `done` are the keys that count. What does not stays until `clear_away`.

        Room is made for the keys of ``tasks``, so that `done` does not grow while they are done.

        Raises:
            UserError: a part cannot be read.
        """
        seen = KeySet(tasks=tasks)
        uncounted: dict[Path, dict[int, str]] = {}
        for part in part_files(self.path):
            try:
                reasons, is_torn = _look_through(part, seen, is_asked)
            except OSError as error:
                raise UserError(f"cannot read {part}: {error.strerror or error}") from None
            if reasons or is_torn:
                uncounted[part] = reasons
        self.done, self._uncounted = seen, uncounted

    def clear_away(self) -> None:
        """Set aside what `take_stock` found not to count.

        Raises:
            UserError: it cannot be written. Nothing is lost.
        """
        try:
            for part, reasons in self._uncounted.items():
                self._clear_part(part, reasons)
        except OSError as error:
            told = error.strerror or error
            raise UserError(f"cannot write to the run directory {self.path}: {told}") from None
        self._uncounted = {}

    def _clear_part(self, part: Path, reasons: Mapping[int, str]) -> None:
        numbers = itertools.count()

        def keep(line: bytes) -> bytes | None:
            reason = reasons.get(next(numbers))
            if reason is None:
                return line if line.endswith(b"\n") else line + b"\n"
            _log.warning("%s", reason)
            self.set_aside(line)
            return None

        rewrite_part(part, keep)


def _look_through(part: Path, seen: KeySet, is_asked: Callable[[Key], bool]) -> tuple[dict[int, str], bool]:
    """Why lines of a part do not count, by their numbers, and whether its last line has no end."""
    reasons = {}
    line = b"\n"
    with part.open("rb") as lines:
        for number, line in enumerate(lines):
            reason = reason_to_set_aside(line, seen, is_asked)
            if reason is not None:
                reasons[number] = reason
    return reasons, not line.endswith(b"\n")


def _sync(part: IO[bytes]) -> None:
    with part:
        os.fsync(part.fileno())
