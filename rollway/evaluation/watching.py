"""What people see of a run while its rollouts run: the screen, ``status.json``, the tracker, the log.

The invariant: it only looks. Nothing here holds up a rollout or ends one, and whatever is on the screen is
taken down at the end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console

from rollway.evaluation.overview import Overview
from rollway.evaluation.progress import Counts, ProgressDisplay
from rollway.evaluation.quiet import QuietTimes, QuietWatch
from rollway.evaluation.shortage import ShortageWatch, shortage_line
from rollway.evaluation.status import Status, StatusFile, status_of
from rollway.evaluation.tracking import Tracker

TICK_SECONDS = 0.25
"""Between two looks at the progress."""

TRACK_SECONDS = 10.0
"""Between two notes to the run's tracker."""

FREE_SECONDS = 5.0
"""That a cluster may take to say how many CPUs are free."""

_log = logging.getLogger(__name__)


class Watching:
    """Open while rollouts run. ``overview`` is asked once at every look.

    Args:
        workers_asked: Ray workers; 0: this process is the worker.
        free_cpus: those of the cluster, asked on a thread of its own when workers are missing.
    """

    def __init__(
        self,
        console: Console,
        counts: Counts,
        overview: Callable[[], Overview],
        status: StatusFile,
        tracker: Tracker | None,
        *,
        workers_asked: int,
        quiet: QuietTimes,
        free_cpus: Callable[[], float] | None = None,
    ) -> None:
        self._counts, self._overview, self._status, self._tracker = counts, overview, status, tracker
        self._workers_asked = workers_asked
        self._began = time.time()
        self._quiet = QuietWatch(quiet)
        self._shortage = ShortageWatch(workers_asked)
        self._free_cpus = free_cpus
        self._seen = overview()  # at the last look: to ask thousands of rollouts costs time
        self._display = ProgressDisplay(console, counts, lambda: self._seen)
        self._next_note = time.monotonic() + TRACK_SECONDS
        self._ticker: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._display.__enter__()
        self._status.begin(self._status_now)
        self._ticker = asyncio.create_task(self._tick())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        self._seen = self._overview()
        self._display.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """Tell people at the screen, and the log, what they should know."""
        _log.warning("%s", line)
        self._display.say(line)

    def leave(self, why: str) -> None:
        """The process ends now: give the terminal back, and say so."""
        self._display.close()
        self._status.end("interrupted", why)
        _log.warning("ended: %s", why)

    async def _tick(self) -> None:
        while True:
            self._seen = self._overview()
            self._display.tick()
            self._status.tick()
            line = self._quiet.look(self._counts.ended, self._seen)
            if line is not None:
                self.say(line)
            if self._shortage.due(len(self._seen.workers)):
                self.say(shortage_line(self._workers_asked, len(self._seen.workers), await self._free()))
            if self._tracker is not None and time.monotonic() >= self._next_note:
                self._next_note = time.monotonic() + TRACK_SECONDS
                self._tracker.log(self._counts.numbers())
            await asyncio.sleep(TICK_SECONDS)

    async def _free(self) -> float | None:
        """Free CPUs, where the cluster says so in time."""
        if self._free_cpus is None:
            return None
        try:
            async with asyncio.timeout(FREE_SECONDS):
                return await asyncio.to_thread(self._free_cpus)
        except Exception as error:  # the line is told without it
            _log.info("the cluster does not say how many CPUs are free: %r", error)
            return None

    def _status_now(self) -> Status:
        return status_of(self._counts, self._seen, workers_asked=self._workers_asked, started=self._began)
