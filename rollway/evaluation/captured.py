"""What an environment's code prints and logs while a run goes on, on its way to the run's log.

The invariant: to print or to log costs the code that does it nothing but the time. A screen that is closed, a
log that cannot be written or a flood of lines raises nothing there, and what is left out is counted.
"""

from __future__ import annotations

import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from rollway.environments.base import Environment
from rollway.evaluation.listening import listening

Note = tuple[int, str, str]
"""Level, logger, message."""

Keep = Callable[[int, str, str], None]
"""Takes a note. It must not raise."""

STREAMS = ("stdout", "stderr")
"""Names of the loggers that printed lines stand under."""


RAYS_THREADS = "ray_"
"""How the names of threads begin in which Ray prints what it has to say, at length."""


class Flood(msgspec.Struct, frozen=True):
    """How much is kept."""

    lines_a_second: int = 200  # records of a log count as one
    line_characters: int = 8_000  # of one line or record; the rest of it is cut off
    between_fetches: int = 500  # notes that a worker keeps until the driver fetches them


@contextmanager
def captured(keep: Keep, *, shown: bool, flood: Flood | None = None) -> Iterator[None]:
    """In the block, what is printed goes to ``keep`` as well, line by line, and what is logged.

    Of what is logged, that is: from INFO on what the environment's code says, from WARNING on what anything
    else says but ``rollway``, which has a log of its own.

    Args:
        shown: what is logged is to be seen on the screen, unless a handler of the user's shows it there.
    """
    bounded = _Bounded(keep, flood or Flood())
    tees = [_Tee(name, bounded) for name in STREAMS]
    root = logging.getLogger()
    handler = _Records(bounded, tees[-1] if shown else None)
    # Where it is as Python sets it, and nobody who listens there is shown more than before:
    lower = root.level == logging.WARNING and not any(_shows(other, logging.INFO) for other in root.handlers)
    try:
        with listening(root, handler, logging.INFO if lower else root.level):
            yield
    finally:
        for tee in tees:
            tee.close()
        bounded.close()


@contextmanager
def ray_off_screen() -> Iterator[WithoutRay]:
    """In the block, what Ray's own threads print is not shown; `captured` keeps it for the log."""
    screen = WithoutRay(sys.stdout)
    sys.stdout = cast(Any, screen)
    try:
        yield screen
    finally:
        if sys.stdout is cast(Any, screen):
            sys.stdout = screen.shown


def tell(level: int, logger: str, message: str) -> None:
    """Put a note into the logs of the runs that go on; one that is not ``rollway``'s own, nowhere else."""
    if _is_of(logger, "rollway"):
        logging.getLogger(logger).log(level, "%s", message)
        return
    record = logging.LogRecord(logger, level, "", 0, message, (), None)
    for handler in logging.getLogger("rollway").handlers:
        if level >= handler.level:
            handler.handle(record)


class Shipment:
    """Notes that wait in a worker for the driver to fetch them."""

    def __init__(self, most: int = Flood().between_fetches) -> None:
        self._most = most
        self._kept: list[Note] = []
        self._dropped = 0

    def keep(self, level: int, logger: str, message: str) -> None:
        """A `Keep`."""
        if len(self._kept) < self._most:
            self._kept.append((level, logger, message))
        else:
            self._dropped += 1

    def take(self) -> list[Note]:
        """What came since the last time."""
        kept, self._kept = self._kept, []
        dropped, self._dropped = self._dropped, 0
        return [*kept, _left_out(dropped)] if dropped else kept


class _Bounded:
    """Passes notes on, as many as there may be in a second, and says how many more there were."""

    def __init__(self, keep: Keep, flood: Flood) -> None:
        self._keep, self._flood = keep, flood
        self._second = 0
        self._passed = self._dropped = 0
        self._on_its_way = threading.local()

    def note(self, level: int, logger: str, message: str) -> None:
        if getattr(self._on_its_way, "note", False):
            return  # a log that cannot be written says so, and is not to be told of that
        self._on_its_way.note = True
        try:
            second = int(time.monotonic())
            if second != self._second:
                self._tell_dropped()
                self._second, self._passed = second, 0
            self._passed += 1
            if self._passed > self._flood.lines_a_second:
                self._dropped += 1
                return
            self._keep(level, logger, _cut(message, self._flood.line_characters))
        finally:
            self._on_its_way.note = False

    def cut(self, text: str) -> bool:
        """Is so long a line begun that it counts as one?"""
        return len(text) > self._flood.line_characters

    def close(self) -> None:
        self._tell_dropped()

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._keep(*_left_out(dropped))


def _is_rays() -> bool:
    return threading.current_thread().name.startswith(RAYS_THREADS)


class WithoutRay:
    """A standard stream on which Ray's threads print nothing."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown
        self._muted = False

    def mute(self) -> None:
        """From now on, nobody prints anything."""
        self._muted = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shown, name)

    @property
    def rich_proxied_file(self) -> Any:
        """Where a console of rich's writes."""
        return getattr(self.shown, "rich_proxied_file", self.shown)

    def write(self, text: str) -> int:
        if not self._muted and not _is_rays():
            self.shown.write(text)
        return len(text)


class _Tee:
    """A standard stream that shows what it showed before, and passes whole lines on."""

    def __init__(self, name: str, bounded: _Bounded) -> None:
        self._name, self._bounded = name, bounded
        self._open = True
        self._begun: dict[int, str] = {}  # by thread: a line that has no end yet
        self.shown: IO[str] | None = getattr(sys, name)
        setattr(sys, name, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shown, name)

    @property
    def rich_proxied_file(self) -> Any:
        """Where a console of rich's writes, whose lines are not the environment's."""
        return getattr(self.shown, "rich_proxied_file", self.shown)

    def write(self, text: str) -> int:
        if not self._open:
            self.show(text)
        else:
            if not _is_rays():
                self.show(text)
            self._take(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if self.shown is not None:
                self.shown.flush()

    def show(self, text: str) -> None:
        """Put it on the screen, where there is one."""
        if self.shown is None:  # as in a program without a console
            return
        try:
            self.shown.write(text)
        except UnicodeEncodeError as error:
            with suppress(OSError, ValueError):
                self.shown.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError):
            return  # it is closed

    def close(self) -> None:
        """Give the stream back. Whoever still holds this one writes to the screen alone."""
        self._open = False
        for begun in self._begun.values():
            self._pass(begun)
        if getattr(sys, self._name) is self:
            below: Any = self.shown
            while isinstance(below, _Tee) and not below._open:
                below = below.shown
            setattr(sys, self._name, below)

    def _take(self, text: str) -> None:
        *lines, rest = text.split("\n")
        begun = self._begun.pop(threading.get_ident(), "")
        for line in lines:
            self._pass(begun + line)
            begun = ""
        if self._bounded.cut(begun + rest):
            self._pass(begun + rest)
        elif begun or rest:
            self._begun[threading.get_ident()] = begun + rest

    def _pass(self, line: str) -> None:
        seen = line.rstrip("\r\n").rpartition("\r")[2]  # as a terminal shows it
        if seen.strip():
            self._bounded.note(logging.INFO, self._name, seen)


class _Records(logging.Handler):
    """Takes what is logged anywhere, at the root of all loggers."""

    def __init__(self, bounded: _Bounded, screen: _Tee | None) -> None:
        super().__init__()
        self._bounded, self._screen = bounded, screen

    def emit(self, record: logging.LogRecord) -> None:
        if _is_of(record.name, "rollway") or not _wanted(record):
            return
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        others = [other for other in _handlers_of(record) if other is not self]
        if not any(_is_captured(other) and record.levelno >= other.level for other in others):
            self._bounded.note(record.levelno, record.name, text)
        if self._screen is not None and not any(_shows(other, record.levelno) for other in others):
            self._screen.show(f"{record.levelname} {record.name}: {text}\n")


def _wanted(record: logging.LogRecord) -> bool:
    if record.levelno < logging.WARNING and _is_library(record.pathname):
        own = any(_is_of(record.name, package) for package in _packages_of(Environment))
        return own and record.levelno >= logging.INFO
    return record.levelno >= logging.INFO


def _packages_of(environment: type) -> Iterator[str]:
    """The packages that environments come from, which may be installed as libraries are."""
    known: type
    for known in environment.__subclasses__():
        yield known.__module__.partition(".")[0]
        yield from _packages_of(known)


def _handlers_of(record: logging.LogRecord) -> Iterator[logging.Handler]:
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _shows(handler: logging.Handler, level: int) -> bool:
    """Does it write records of this level to the screen?"""
    if not isinstance(handler, logging.StreamHandler) or handler.level > level:
        return False
    return _is_captured(handler) or getattr(handler, "stream", None) in (sys.__stdout__, sys.__stderr__)


def _is_captured(handler: logging.Handler) -> bool:
    """Does it print what it gets, so that it is taken as printed lines?"""
    return isinstance(getattr(handler, "stream", None), _Tee)


def _is_of(logger: str, package: str) -> bool:
    return logger == package or logger.startswith(f"{package}.")


def _is_library(file: str) -> bool:
    """Is it code that was installed, and not somebody's own?"""
    path = Path(file)
    if file.startswith("<frozen") or {"site-packages", "dist-packages"} & set(path.parts):
        return True
    here = Path(__file__).parents[1]
    return any(path.is_relative_to(folder) for folder in (here, sysconfig.get_path("stdlib")))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most:,} characters more)"


def _left_out(lines: int) -> Note:
    return logging.WARNING, "rollway", f"{lines:,} more printed or logged lines are left out here"
