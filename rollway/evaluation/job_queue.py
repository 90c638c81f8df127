"""What is still to be done, in the order in which it is handed out.

First what was lost with a worker, then what was never tried, then what has failed: to a worker that it did
not fail on, as long as there is one. Suspects, which may have killed workers, are handed out apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Set

import msgspec

from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.tasks import Job


class Attempt(msgspec.Struct, eq=False):
    """A job, and what came of it so far."""

    job: Job
    number: int = 0  # tries that have begun
    began: float = 0.0  # the latest try, on the monotonic clock
    deaths: int = 0  # of workers that were doing it
    group: int | None = None  # suspects that it runs together with, itself included; None: any jobs
    failures: int = 0  # tries that failed with a fault that has a place
    failed_on: set[int] = msgspec.field(default_factory=set)  # the workers of these
    not_before: float = 0.0  # on the monotonic clock
    last: Callable[[], Outcome] | None = None  # gets back what came of the last try; None: none has failed


class JobQueue:
    """Jobs that wait. What is taken comes back through one of `lost`, `failed` and `suspect`, or is done."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._fresh = jobs
        self._lost: deque[Attempt] = deque()
        self._failed: deque[Attempt] = deque()
        self._suspects: deque[Attempt] = deque()
        self._exhausted = False

    @property
    def is_empty(self) -> bool:
        """Is nothing left, as far as anybody has looked?"""
        return self._exhausted and not (self._lost or self._failed or self._suspects)

    @property
    def has_suspects(self) -> bool:
        return bool(self._suspects)

    def take(self, worker: int, others: Set[int], now: float) -> Attempt | None:
        """The next job for a worker, where ``others`` are those that could do it in its place."""
        if self._lost:
            return self._lost.popleft()
        job = next(self._fresh, None)
        if job is not None:
            return Attempt(job)
        self._exhausted = True
        for place, attempt in enumerate(self._failed):
            if attempt.not_before <= now and (worker not in attempt.failed_on or others <= attempt.failed_on):
                del self._failed[place]
                return attempt
        return None

    def due(self, now: float) -> float | None:
        """In how many seconds the next failed job may be tried again; ``None``: none waits for its time."""
        waits = [attempt.not_before - now for attempt in self._failed if attempt.not_before > now]
        return min(waits, default=None)

    def take_suspects(self) -> list[Attempt]:
        """The suspects that run together next."""
        size = min(self._suspects[0].group or 1, len(self._suspects))
        group = [self._suspects.popleft() for _ in range(size)]
        for attempt in group:
            attempt.group = size
        return group

    def lost(self, attempt: Attempt) -> None:
        """Its worker is gone: it is done again soon."""
        self._lost.append(attempt)

    def failed(self, attempt: Attempt) -> None:
        """It is done again after all others."""
        self._failed.append(attempt)

    def suspect(self, attempt: Attempt) -> None:
        """It may have killed its worker: it is done again in a group of ``attempt.group``."""
        self._suspects.append(attempt)

    def acquit(self) -> None:
        """Nobody may be left who runs suspects apart: they become jobs like any other."""
        while self._suspects:
            attempt = self._suspects.popleft()
            attempt.group = None
            self._lost.append(attempt)

    def left(self) -> Iterator[Attempt]:
        """Take out all that was tried at least once."""
        for waiting in (self._lost, self._failed, self._suspects):
            while waiting:
                yield waiting.popleft()
