"""The driver: sends jobs to workers, a limited number at a time, and receives every outcome exactly once.

The invariant: each job ends in exactly one call of ``keep``, whatever dies. What a dead worker was doing is
done again by another. Jobs that were in flight at two deaths are suspects: they run apart from the others, in
groups that halve with each death, until the one that kills its worker is alone and recorded as failed. The
driver never waits for a worker that is gone.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import msgspec

from rollway.evaluation.backends import Backend, WorkerDied, WorkerHandle
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.tasks import Job
from rollway.trajectory import StopReason

SUSPECT_AFTER = 2
"""A job that was in flight at this many deaths runs apart from the others."""

MOST_FAILED_STARTS = 3
"""A place whose worker died so often in a row while starting stays empty."""

START_SECONDS = 300.0
"""If no worker at all is running after this time, the run is given up."""

STOP_SECONDS = 15.0
"""How long an interrupted run waits for its cancelled rollouts."""

_log = logging.getLogger(__name__)


class DriverStopped(Exception):
    """The run ended before all jobs were done. The message says why, in one line."""


class _Attempt(msgspec.Struct):
    job: Job
    deaths: int = 0  # of workers that were doing it
    group: int | None = None  # suspects that it runs together with, itself included; None: any jobs


class Driver:
    """Runs jobs on ``places`` workers, at most ``concurrency`` in flight on each.

    ``keep(job, outcome)`` stores what came of a job; ``give_up(job, why)`` makes the outcome of a job that
    cannot be done. After ``stop_after_failures`` failed outcomes in a row no more jobs start.
    """

    def __init__(
        self,
        jobs: Iterator[Job],
        backend: Backend,
        *,
        places: int,
        concurrency: int,
        keep: Callable[[Job, Outcome], None],
        give_up: Callable[[Job, BaseException], Outcome],
        stop_after_failures: int | None = None,
    ) -> None:
        self.in_flight = 0
        self.interrupted = False
        self._began: float | None = None
        self._jobs = jobs
        self._backend = backend
        self._places = places
        self._concurrency = concurrency
        self._keep = keep
        self._give_up = give_up
        self._stop_after_failures = stop_after_failures
        self._failures_in_a_row = 0
        self._again: deque[_Attempt] = deque()  # lost once
        self._suspects: deque[_Attempt] = deque()  # lost more often
        self._exhausted = False
        self._closing = False
        self._stop_reason: str | None = None
        self._workers: set[WorkerHandle] = set()
        self._stops: list[asyncio.Task[None]] = []
        self._new_work = asyncio.Event()
        self._finished = asyncio.Event()
        self._started = asyncio.Event()

    async def run(self) -> None:
        """Do all jobs.

        Raises:
            DriverStopped: not all were done: too many failed in a row, or no worker could be had.
            UserError: a worker cannot load the environment.
        """
        places = {asyncio.create_task(self._place(number)) for number in range(self._places)}
        others = {asyncio.create_task(self._watch_start()), asyncio.create_task(self._finished.wait())}
        try:
            await self._until_finished(places, others)
        finally:
            self._closing = True
            for task in [*places, *others, *self._stops]:
                task.cancel()
            for left in await asyncio.gather(*places, *others, *self._stops, return_exceptions=True):
                if isinstance(left, Exception) and left is not sys.exception():
                    _log.error("beside the end of the run: %s", left, exc_info=left)
            await asyncio.gather(*(worker.close() for worker in self._workers), return_exceptions=True)
        if self._stop_reason is not None:
            raise DriverStopped(self._stop_reason)

    @property
    def workers(self) -> list[WorkerHandle]:
        """Those that run at the moment."""
        return list(self._workers)

    @property
    def seconds(self) -> float:
        """Since the first job started."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def interrupt(self) -> None:
        """Hand out nothing more and cancel what is in flight; `run` ends soon after."""
        self.interrupted = True
        self._stops = [asyncio.create_task(worker.stop()) for worker in self._workers]
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._finished.set)
        self._settle()

    async def _until_finished(self, places: set[asyncio.Task[Any]], others: set[asyncio.Task[Any]]) -> None:
        """Wait for the end, or for the first task that raises. A place that stays empty is not missed."""
        running = places | others
        while not self._finished.is_set():
            if not places & running:
                raise DriverStopped(
                    f"no worker is left: each died {MOST_FAILED_STARTS} times in a row while starting; see "
                    "the run's log.txt"
                )
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()

    async def _watch_start(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._started.wait()
        except TimeoutError:
            raise DriverStopped(
                f"no worker started within {START_SECONDS:.0f} s: check that the cluster has {self._places} "
                "x ray.cpus_per_worker free CPUs"
            ) from None

    async def _place(self, number: int) -> None:
        """Keep one worker running, and a new one in its place when it dies."""
        failed_starts = 0
        while failed_starts < MOST_FAILED_STARTS:
            try:
                worker = await self._backend.start_worker(number)
            except WorkerDied as error:
                failed_starts += 1
                _log.error("worker %d died while starting: %s", number, error)
                continue
            failed_starts = 0
            self._started.set()
            self._workers.add(worker)
            _log.info("worker %d runs as %s", number, worker.name)
            await self._feed(worker)
            self._workers.discard(worker)
            _log.warning("worker %d (%s) died; its rollouts are retried", number, worker.name)
            await worker.close()
        while self._suspects:  # nobody may start here any more, and the other places must not wait
            suspect = self._suspects.popleft()
            suspect.group = None
            self._again.append(suspect)
        self._new_work.set()

    async def _feed(self, worker: WorkerHandle) -> None:
        """Keep a worker busy until it dies: first with the suspects, then in ``concurrency`` lanes."""
        while self._suspects and not self._stopping:
            group = self._next_suspects()
            if not await _all_alive([self._fly(worker, attempt) for attempt in group]):
                return
        await _all_alive([self._lane(worker) for _ in range(self._concurrency)])

    async def _lane(self, worker: WorkerHandle) -> bool:
        while await self._fly(worker, await self._take()):
            pass
        return False

    def _next_suspects(self) -> list[_Attempt]:
        size = min(self._suspects[0].group or 1, len(self._suspects))
        group = [self._out(self._suspects.popleft()) for _ in range(size)]
        for attempt in group:
            attempt.group = size
        return group

    async def _fly(self, worker: WorkerHandle, attempt: _Attempt) -> bool:
        """One job on one worker. False when the worker died of it, or with it."""
        try:
            outcome = await worker.run(attempt.job)
        except WorkerDied:
            self._lost(attempt)
            return False
        except asyncio.CancelledError:  # the place is being cleared
            self._lost(attempt)
            raise
        except Exception as error:
            outcome = self._give_up(attempt.job, error)
        self._landed(attempt.job, outcome)
        return True

    async def _take(self) -> _Attempt:
        """The next job, as soon as there is one."""
        while True:
            if not self._stopping:
                if self._again:
                    return self._out(self._again.popleft())
                job = next(self._jobs, None)
                if job is not None:
                    return self._out(_Attempt(job))
                self._exhausted = True
            self._settle()
            self._new_work.clear()
            await self._new_work.wait()

    def _out(self, attempt: _Attempt) -> _Attempt:
        self.in_flight += 1
        if self._began is None:
            self._began = time.monotonic()
        return attempt

    def _landed(self, job: Job, outcome: Outcome) -> None:
        self.in_flight -= 1
        self._keep(job, outcome)
        if outcome.stop_reason is not StopReason.CANCELLED:
            self._failures_in_a_row = self._failures_in_a_row + 1 if outcome.failed else 0
        if self._failures_in_a_row == self._stop_after_failures and self._stop_reason is None:
            self._stop_reason = (
                f"{self._failures_in_a_row} rollouts failed in a row; the last error: {outcome.error}"
            )
            _log.error("no more rollouts are started: %s", self._stop_reason)
        self._settle()

    def _lost(self, attempt: _Attempt) -> None:
        if self._closing:
            return
        attempt.deaths += 1
        if attempt.group == 1:
            why = WorkerDied(f"{attempt.deaths} workers died running it, the last while running it alone")
            _log.error("rollout %s failed: %s", attempt.job.key, why)
            self._landed(attempt.job, self._give_up(attempt.job, why))
            return
        self.in_flight -= 1
        if attempt.deaths >= SUSPECT_AFTER:
            attempt.group = max(1, (attempt.group or self._concurrency) // 2)
            self._suspects.append(attempt)
        else:
            self._again.append(attempt)
        self._new_work.set()
        self._settle()

    @property
    def _stopping(self) -> bool:
        return self.interrupted or self._stop_reason is not None

    def _settle(self) -> None:
        """See whether there is nothing left to wait for."""
        nothing_left = self._exhausted and not self._again and not self._suspects
        if self.in_flight == 0 and (nothing_left or self._stopping):
            self._finished.set()


async def _all_alive(flights: Sequence[Coroutine[Any, Any, bool]]) -> bool:
    """Run ``flights`` at the same time until all have ended. When one ends with False, or an exception, the
    others are cancelled."""
    tasks = {asyncio.create_task(flight) for flight in flights}
    running = set(tasks)
    try:
        while running:
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            results = [task.result() for task in ended]
            if not all(results):
                return False
        return True
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
