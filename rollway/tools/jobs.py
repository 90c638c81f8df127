"""One call of a function on a worker's thread: where it stands, and what came of it.

Only whoever holds the pool's lock moves a job, and only forwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollway.tools.worker_threads import Worker


class JobState(IntEnum):
    """Where a job stands. Only the lock's holder moves it, and only forwards."""

    QUEUED = 0
    RUNNING = 1
    DONE = 2  # with a value or an error
    ABANDONED = 3  # nobody waits for it any more


class Job:
    """One call of a function, and what came of it. Times are `time.monotonic()` seconds."""

    __slots__ = (
        "announced",
        "ended",
        "error",
        "function",
        "started",
        "state",
        "submitted",
        "timeout",
        "value",
        "worker",
    )

    def __init__(self, function: Callable[[], Any], timeout: float | None) -> None:
        self.function: Callable[[], Any] | None = function  # None once it has run
        self.timeout = timeout  # seconds that it may run; None is no bound
        self.state = JobState.QUEUED
        self.announced = False  # report when it begins: it has to wait for a free thread
        self.submitted = time.monotonic()
        self.started: float | None = None
        self.ended: float | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.worker: Worker | None = None  # while it runs

    def run(self) -> None:
        """Run the function; whatever it raises is kept, so that no tool can end its worker."""
        function, self.function = self.function, None
        assert function is not None
        self.started = time.monotonic()
        if self.announced:
            self.report()
        try:
            self.value = function()
        except BaseException as error:
            self.error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
        self.ended = time.monotonic()

    @property
    def overran(self) -> bool:
        """Did it end, but after its deadline? So says the clock, however busy whoever waits for it was."""
        if self.timeout is None or self.started is None or self.ended is None:
            return False
        return self.ended - self.started > self.timeout

    def report(self) -> None:
        """Called when an announced job begins, and when a job has ended. Must not raise or block."""
        raise NotImplementedError
