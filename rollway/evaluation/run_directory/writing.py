"""An open run, written to: each rollout that ends is entered once, in a whole line.

The invariant: a line is in its file, whole, when `RunDirectory.append` returns; no line of a key that is on
record for good is written, and nothing is ever glued to half a line. The line of a rollout that is done again
leaves when its replacement has landed, and none is replaced by one that says less.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

from rollway.errors import UserError
from rollway.evaluation.run_directory.parts import next_part, rewrite_part, write_all
from rollway.evaluation.run_directory.stock import Stock, Wanted, take_stock
from rollway.keys import Key, KeySet
from rollway.stored.lines import Standing, decode_ending, part_files, standing
from rollway.whole_files import write_whole

PART_BYTES = 256 * 2**20
"""A part that has grown beyond this is closed and the next begun."""

_log = logging.getLogger(__name__)


class FolderGone(OSError):
    """The run's folder, or the part being written, is not where it was: what is written would be lost."""

    def __init__(self) -> None:
        super().__init__(errno.ENOENT, "the folder is gone: it was deleted or moved while the run went on")


class RunDirectory:
    """An open run, locked. Close it, or use it as a context manager.

    Before it is appended to, `take_stock` says what is there, `clear_away` sets aside what does not count,
    and after the last `append`, `settle` sets aside what was done again.
    """

    def __init__(self, path: Path, lock: IO[str], *, config: bytes) -> None:
        self.path = path
        self._is_at = _identity(os.stat(path))
        self._config: bytes | None = config  # None: it is written
        self._lock = lock
        self._part: IO[bytes] | None = None
        self._syncer = ThreadPoolExecutor(1, "rollway-sync")  # its thread begins with the first full part
        self._syncing: Future[None] | None = None
        self._aside: IO[bytes] | None = None
        self._wanted = Wanted(lambda key: True)
        self._stock = Stock(KeySet())
        self._replaced: set[Key] = set()  # of the pending ones

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

    @property
    def done(self) -> KeySet:
        """The keys that are on record for good, and those that have been done since."""
        return self._stock.done

    @property
    def unasked(self) -> Key | None:
        """The first rollout on record that is no part of the run any more; ``None``: all are."""
        return self._stock.unasked

    def counted(self) -> Iterator[Key]:
        """The keys whose rollouts count, also those that lack only a score."""
        yield from self._stock.done
        for key, pending in self._stock.pending.items():
            if pending.standing is Standing.UNSCORED:
                yield key

    @property
    def unscored_count(self) -> int:
        """How many rollouts lacked only a score when stock was taken."""
        return sum(one.standing is Standing.UNSCORED for one in self._stock.pending.values())

    def unscored(self, key: Key) -> bytes | None:
        """The stored record of a rollout that lacks only a score; ``None``: it is to be sampled.

        Raises:
            OSError: it cannot be read.
        """
        pending = self._stock.pending.get(key)
        return pending.read() if pending is not None and pending.standing is Standing.UNSCORED else None

    def append(self, key: Key, line: bytes) -> None:
        """Write one rollout that ended. It is in the file, whole, when this returns. If it was done again and
        says less than the line on record, it is set aside.

        Raises:
            ValueError: this key is already on disk.
            OSError: it could not be written, and what was written of it has been cut off again; or the part
                before could not be brought to the disk; or the folder is gone (`FolderGone`).
        """
        if key in self.done:
            raise ValueError(f"rollout {key} is already on disk")
        pending = self._stock.pending.get(key)
        if pending is not None and standing(decode_ending(line)) < pending.standing:
            _log.warning("rollout %s was done again and came to less; its earlier record stays", key)
            self.set_aside(line)
        else:
            self._write(line)
            if pending is not None:
                self._replaced.add(key)
        self.done.add(key)

    def _write(self, line: bytes) -> None:
        self.refuse_gone()
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

    def refuse_gone(self) -> None:
        """See that what is written will be found.

        Raises:
            FolderGone: it would not be.
        """
        part = self._part
        try:
            if _identity(os.stat(self.path)) != self._is_at:
                raise FolderGone
            if part is not None and _identity(os.stat(part.name)) != _identity(os.fstat(part.fileno())):
                raise FolderGone
        except FileNotFoundError:
            raise FolderGone from None

    def set_aside(self, line: bytes) -> None:
        """Keep a line that does not count."""
        self.refuse_gone()
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

    def take_stock(self, wanted: Wanted) -> None:
        """Read what is there: `done` are the keys that count for good. What is not to stay stays until
        `clear_away`.

        Raises:
            UserError: a part cannot be read.
        """
        self._wanted, self._stock = wanted, take_stock(self.path, wanted)

    def write_config(self) -> None:
        """Write what is asked for now, if it is not there yet.

        Raises:
            OSError: it cannot be written. The old one is as it was.
        """
        if self._config is not None:
            write_whole(self.path / "config.yaml", self._config)
            self._config = None

    def clear_away(self) -> None:
        """Set aside what `take_stock` found not to count; from here on, the run is what is asked for now.

        Raises:
            UserError: it cannot be written. Nothing is lost.
        """
        try:
            self.write_config()
            for part, reasons in self._stock.aside.items():
                self._clear_part(part, reasons)
        except OSError as error:
            told = error.strerror or error
            raise UserError(f"cannot write to the run directory {self.path}: {told}") from None
        if self._stock.aside:  # lines have moved
            self.take_stock(self._wanted)

    def settle(self) -> None:
        """Set aside the lines of rollouts that have been done again.

        Raises:
            OSError: it cannot be written. Nothing is lost, and each key counts once all the same.
        """
        self.sync()
        reasons: dict[Path, dict[int, str]] = {}
        for key in self._replaced:
            pending = self._stock.pending.pop(key)
            reasons.setdefault(pending.part, {})[pending.number] = f"rollout {key} was done again"
        self._replaced = set()
        for part, told in reasons.items():
            self._clear_part(part, told)

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


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from any other."""
    return status.st_dev, status.st_ino


def _sync(part: IO[bytes]) -> None:
    with part:
        os.fsync(part.fileno())
