"""The driver: sends jobs to workers, a limited number at a time, and receives every outcome exactly once.

The invariant: each job ends in exactly one call of ``keep``, whatever dies, unless the run ends before. What
a dead worker was doing is done again by another; what failed through no fault of its own is done again after
all others, elsewhere if possible (`job_queue`). Workers that do not answer are replaced (`heartbeat`), and so
are those at fault (`place_health`). The driver never waits for a worker that is gone.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rollway.errors import UserError
from rollway.evaluation.backends import Backend, WorkerDied, WorkerHandle
from rollway.evaluation.driver_timings import DriverTimings
from rollway.evaluation.heartbeat import end_of
from rollway.evaluation.job_queue import Attempt, JobQueue
from rollway.evaluation.losses import Loss, loss_of
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.place_health import PlaceHealth
from rollway.evaluation.reports import WorkerReport
from rollway.evaluation.run_directory.attempts import AttemptRecord, in_short
from rollway.evaluation.seat import EndKind, Seat, SeatEnd
from rollway.evaluation.tasks import Job
from rollway.evaluation.whose_fault import ELSEWHERE, Fault
from rollway.trajectory import StopReason

MOST_FAILED_STARTS = 3
"""A place whose worker could not be started so often in a row stays empty."""

MENDED_AFTER = 100
"""A worker that was started in the place of a bad one, and has done so many rollouts, may turn bad anew."""

DEFAULT_TIMINGS = DriverTimings()

_log = logging.getLogger(__name__)


class DriverStopped(Exception):
    """The run ended before all jobs were done. The message says why, in one line."""


class Driver:
    """Runs jobs on ``places`` workers, at most ``concurrency`` in flight on each.

    Args:
        keep: stores what came of a job.
        give_up: makes the outcome of a job that cannot be done, and why, on the worker that had it.
        stop_after_failures: after so many failed tries in a row, on all workers alike, no more jobs start.
        attempts: tries of a rollout that fails through no fault of its own.
        tried: is told of every try that failed or was lost, before the job is tried again.
        hold: puts the outcome of a job that is tried again away, for the case that it is not; what it
            returns gets the outcome back.
    """

    def __init__(
        self,
        jobs: Iterator[Job],
        backend: Backend,
        *,
        places: int,
        concurrency: int,
        keep: Callable[[Job, Outcome], None],
        give_up: Callable[[Job, BaseException, WorkerHandle], Outcome],
        stop_after_failures: int | None = None,
        attempts: int = 3,
        tried: Callable[[AttemptRecord, Outcome | None], None] = lambda record, outcome: None,
        hold: Callable[[Outcome], Callable[[], Outcome]] = lambda outcome: lambda: outcome,
        timings: DriverTimings = DEFAULT_TIMINGS,
    ) -> None:
        self.in_flight = 0
        self.interrupted = False
        self._began: float | None = None
        self._backend = backend
        self._places = places
        self._concurrency = concurrency
        self._keep = keep
        self._give_up = give_up
        self._stop_after_failures = stop_after_failures
        self._attempts = attempts
        self._tried = tried
        self._hold = hold
        self._timings = timings
        self._queue = JobQueue(jobs)
        self._health = PlaceHealth()
        self._failures_in_a_row = 0
        self._successes = 0
        self._closing = False
        self._stop_reason: str | None = None
        self._start_fault = ""  # of the worker that could not be started last
        self._workers: set[WorkerHandle] = set()
        self._seats: dict[int, Seat] = {}
        self._seats_taken = 0
        self._awaited_starts: set[int] | None = set(range(places))  # places; None: nobody waits any more
        self._stops: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None  # for the next failed job whose time comes
        self._finished = asyncio.Event()
        self._started = asyncio.Event()
        self._broken: asyncio.Future[None] | None = None  # raises what the code around a job raised

    async def run(self) -> None:
        """Do all jobs.

        Raises:
            DriverStopped: not all were done: too many failed in a row, or no worker could be had.
            UserError: a worker cannot load the environment.
        """
        self._broken = asyncio.get_running_loop().create_future()
        places = {asyncio.create_task(self._place(number)) for number in range(self._places)}
        others: set[asyncio.Future[Any]] = {
            asyncio.create_task(self._watch_start()),
            asyncio.create_task(self._finished.wait()),
            asyncio.ensure_future(self._broken),
        }
        try:
            await self._until_finished(places, others)
        finally:
            self._closing = True
            for task in [*places, *others, *self._stops]:
                task.cancel()
            for left in await asyncio.gather(*places, *others, *self._stops, return_exceptions=True):
                if isinstance(left, Exception) and left is not sys.exception():
                    _log.error("beside the end of the run: %s", left, exc_info=left)
            if self._timer is not None:
                self._timer.cancel()
            await asyncio.gather(*(worker.close() for worker in self._workers), return_exceptions=True)
            self._keep_what_failed()
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
        asyncio.get_running_loop().call_later(self._timings.stop, self._finished.set)
        self._settle()

    async def _until_finished(self, places: set[asyncio.Task[Any]], others: set[asyncio.Future[Any]]) -> None:
        """Wait for the end, or for the first task that raises. A place that stays empty is not missed."""
        running: set[asyncio.Future[Any]] = places | others
        while not self._finished.is_set():
            if not places & running:
                raise DriverStopped(self._why_no_worker())
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()

    def _why_no_worker(self) -> str:
        last = f": {in_short(self._start_fault)}" if self._start_fault else ""
        return (
            f"no worker is left: each failed {MOST_FAILED_STARTS} times in a row while starting{last}; see "
            "the run's log.txt"
        )

    async def _watch_start(self) -> None:
        try:
            async with asyncio.timeout(self._timings.start):
                await self._started.wait()
        except TimeoutError:
            raise DriverStopped(
                f"no worker started within {self._timings.start:g} s: check that the cluster has "
                f"{self._places} x ray.cpus_per_worker free CPUs"
            ) from None
        await asyncio.sleep(self._timings.others)
        self._awaited_starts = None
        self._wake_all()

    # Places, and the workers in them.

    async def _place(self, number: int) -> None:
        """Keep one worker running, and a new one in its place when it ends; a bad one is replaced once."""
        replaced = False
        while (worker := await self._start(number)) is not None:
            self._expect_no_start(number)
            self._seats_taken += 1
            seat = Seat(self._seats_taken, worker, self._concurrency)
            _log.info("worker %d runs as %s", number, seat)
            done, end = await self._occupy(seat)
            _log.warning("worker %d (%s) is gone; its rollouts are retried: %s", number, seat, end.why)
            if end.kind is EndKind.BAD:
                if replaced and done < MENDED_AFTER:
                    _log.error(
                        "worker %d is not started again: rollouts fail there, and not elsewhere", number
                    )
                    break
                replaced = True
        self._expect_no_start(number)
        self._queue.acquit()  # nobody may start here any more, and the other places must not wait
        self._wake_all()

    def _expect_no_start(self, number: int) -> None:
        if self._awaited_starts:
            self._awaited_starts.discard(number)
            self._wake_all()

    async def _start(self, number: int) -> WorkerHandle | None:
        """A worker that runs; ``None``: the place stays empty."""
        for failures in range(1, MOST_FAILED_STARTS + 1):
            try:
                return await self._backend.start_worker(number)
            except WorkerDied as error:
                self._start_fault = str(error)
                _log.error("worker %d died while starting: %s", number, error)
            except UserError as error:
                if not (self._successes and self._seats):
                    raise
                self._start_fault = str(error)
                _log.error("worker %d cannot begin, the others go on: %s", number, error)
            if failures < MOST_FAILED_STARTS:
                await asyncio.sleep(self._timings.restart(failures))
        return None

    async def _occupy(self, seat: Seat) -> tuple[int, SeatEnd]:
        """Give a worker jobs until it ends; how many it has done well, and how it ended."""
        self._started.set()
        self._workers.add(seat.worker)
        self._seats[seat.number] = seat
        self._health.begin(seat.number)
        beside = [asyncio.create_task(self._listen(seat)), asyncio.create_task(self._widen(seat))]
        for task in beside:
            task.add_done_callback(self._tell_of_fault)
        try:
            await self._feed(seat)
        finally:
            done = self._health.successes(seat.number)
            self._health.end(seat.number)
            del self._seats[seat.number]
            await seat.clear(beside)
            self._lose_what_flies(seat)
        assert seat.ended is not None
        self._workers.discard(seat.worker)
        await (seat.worker.kill() if seat.ended.kind is EndKind.HUNG else seat.worker.close())
        self._wake_all()
        return done, seat.ended

    async def _listen(self, seat: Seat) -> None:
        def heard(report: WorkerReport) -> None:
            seat.troubled = bool(report.troubled)

        end = await end_of(seat.worker, self._timings, heard)
        if end is not None:
            seat.end(end)

    async def _widen(self, seat: Seat) -> None:
        """Let a worker whose first rollouts take long have more of them, unless it seems to be at fault."""
        while seat.lanes < self._concurrency:
            await asyncio.sleep(self._timings.ramp)
            others = (number for number in self._seats if number != seat.number)
            is_odd = bool(seat.failed_in_a_row or seat.troubled)
            if not (is_odd and any(self._health.had_success(other) for other in others)):
                seat.widen()

    async def _feed(self, seat: Seat) -> None:
        """Keep a worker busy until it has ended: suspects run apart, the others in lanes."""
        while seat.ended is None:
            seat.wake.clear()
            if seat.draining:
                await self._drain(seat)
                return
            while seat.has_room and (attempt := self._next(seat)) is not None:
                seat.begin_lane(self._lane(seat, attempt), self._tell_of_fault)
            self._settle()
            await seat.wake.wait()

    async def _drain(self, seat: Seat) -> None:
        """Let a bad worker end what it has in flight."""
        _log.error("worker %s gets no more rollouts: they fail there, and not elsewhere", seat)
        self._wake_all()  # what failed there may be done elsewhere
        try:
            async with asyncio.timeout(self._timings.drain):
                while seat.running_lanes and seat.ended is None:
                    seat.wake.clear()
                    await seat.wake.wait()
        except TimeoutError:
            pass
        seat.end(SeatEnd(EndKind.BAD, "rollouts failed there while they succeeded elsewhere"))

    def _tell_of_fault(self, task: asyncio.Task[None]) -> None:
        """What a task beside the places raises ends the run."""
        assert self._broken is not None
        if not task.cancelled() and (error := task.exception()) is not None and not self._broken.done():
            self._broken.set_exception(error)

    # Jobs, from the queue to their outcome.

    async def _lane(self, seat: Seat, attempt: Attempt | None) -> None:
        """One job after the other on one worker, until there is none for it."""
        while attempt is not None:
            await self._fly(seat, attempt)
            attempt = self._next(seat)

    def _next(self, seat: Seat) -> Attempt | None:
        """The next job for a worker; ``None``: it has to wait for one."""
        if self._stopping or seat.ended is not None or seat.draining:
            return None
        now = time.monotonic()
        attempt = self._next_apart(seat) if seat.is_apart or self._queue.has_suspects else None
        if attempt is None and not seat.is_apart and self._may_have_more(seat):
            attempt = self._queue.take(seat.number, self._able(), now)
        if attempt is None:
            self._come_back_when_due(now)
            return None
        attempt.number += 1
        attempt.began = now
        seat.flying[attempt] = None
        self.in_flight += 1
        if self._began is None:
            self._began = now
        return attempt

    def _next_apart(self, seat: Seat) -> Attempt | None:
        """One of the suspects, which run while nothing else does."""
        if not seat.flying and not seat.apart:
            seat.apart = self._queue.take_suspects() if self._queue.has_suspects else []
            seat.is_apart = bool(seat.apart)
        return seat.apart.pop() if seat.apart else None

    def _may_have_more(self, seat: Seat) -> bool:
        """Not a worker on which all fails, as long as another one may still show that this is its fault."""
        if self._health.may_begin(seat.number, len(seat.flying)):
            return True
        if self._awaited_starts:
            return False
        others = self._able() - {seat.number}
        return not any(other.flying for number, other in self._seats.items() if number in others)

    def _able(self) -> set[int]:
        """The workers that have not given reason for doubt."""
        return {
            number
            for number, seat in self._seats.items()
            if not seat.draining and seat.ended is None and not self._health.is_doubted(number)
        }

    def _come_back_when_due(self, now: float) -> None:
        due = self._queue.due(now)
        if due is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(due, self._wake_all)

    async def _fly(self, seat: Seat, attempt: Attempt) -> None:
        """One job on one worker."""
        try:
            outcome = await seat.worker.run(attempt.job)
        except WorkerDied as error:  # all that it has in flight is lost, this too
            seat.end(SeatEnd(EndKind.DIED, str(error)))
            return
        except Exception as error:
            outcome = self._give_up(attempt.job, error, seat.worker)
        self._returned(seat, attempt)
        self._learn(seat, outcome)
        self._ended(seat, attempt, outcome)

    def _returned(self, seat: Seat, attempt: Attempt) -> None:
        self.in_flight -= 1
        del seat.flying[attempt]

    def _ended(self, seat: Seat, attempt: Attempt, outcome: Outcome) -> None:
        """Keep what came of a job, or do it again."""
        attempt.failures += outcome.failed
        again = (
            outcome.failed
            and outcome.fault in ELSEWHERE
            and attempt.failures < self._attempts
            and not self._stopping
        )
        if outcome.failed and not self._was_cancelled(outcome):
            self._tried(_failed_try(seat.worker, attempt, outcome, again), outcome)
        if again:
            attempt.failed_on.add(seat.number)
            attempt.not_before = time.monotonic() + self._timings.pause(attempt.failures)
            attempt.last = self._hold(outcome)
            self._queue.failed(attempt)
            self._wake_all()
        else:
            self._keep(attempt.job, outcome)
        self._settle()

    def _was_cancelled(self, outcome: Outcome) -> bool:
        return self.interrupted and outcome.stop_reason is StopReason.CANCELLED

    def _learn(self, seat: Seat, outcome: Outcome) -> None:
        """What an outcome says about its worker, and about the run."""
        if outcome.stop_reason is StopReason.CANCELLED:
            return
        if outcome.failed:
            seat.failed_in_a_row += 1
            self._failures_in_a_row += 1
        else:
            seat.failed_in_a_row = self._failures_in_a_row = 0
            self._successes += 1
        if outcome.failed and outcome.fault in ELSEWHERE:
            self._health.failed(seat.number)
        else:
            self._health.succeeded(seat.number)
            if seat.lanes < self._concurrency:
                seat.open_all_lanes()
        self._find_bad_workers()
        self._stop_if_all_fail(outcome)

    def _find_bad_workers(self) -> None:
        doubted = [seat for number, seat in self._seats.items() if self._health.is_doubted(number)]
        for seat in doubted:
            seat.wake.set()  # it may have one more for what ended elsewhere
            if not seat.draining and self._health.is_bad(seat.number) and self._able() - {seat.number}:
                seat.draining = True

    def _stop_if_all_fail(self, outcome: Outcome) -> None:
        """After enough failures on all workers alike, or too many on some that are waited for in vain."""
        enough, in_a_row = self._stop_after_failures, self._failures_in_a_row
        if enough is None or in_a_row < enough or self._stop_reason is not None:
            return
        alike = all(seat.failed_in_a_row for seat in self._seats.values())
        if alike or in_a_row >= enough * len(self._seats):
            self._stop_reason = f"{in_a_row} rollouts failed in a row; the last error: {outcome.error}"
            _log.error("no more rollouts are started: %s", self._stop_reason)

    def _lose_what_flies(self, seat: Seat) -> None:
        """The jobs of a worker that is gone."""
        for attempt in list(seat.flying):
            if self._closing or seat.ended is None:
                self._queue.lost(attempt)
            else:
                self._lost(seat, attempt, seat.ended)
        for attempt in seat.apart:
            self._queue.suspect(attempt)

    def _lost(self, seat: Seat, attempt: Attempt, end: SeatEnd) -> None:
        self._returned(seat, attempt)
        loss = loss_of(attempt, end, self._concurrency)
        guilty = loss is Loss.GUILTY
        self._tried(_lost_try(seat.worker, attempt, end, again=not guilty), None)
        if guilty:
            why = WorkerDied(
                f"{attempt.deaths} workers died running it, the last while running it alone"
                + (f": {end.why}" if end.kind is EndKind.HUNG else "")
            )
            _log.error("rollout %s failed: %s", attempt.job.key, why)
            self._failures_in_a_row += 1
            outcome = self._give_up(attempt.job, why, seat.worker)
            self._stop_if_all_fail(outcome)
            self._keep(attempt.job, outcome)
        elif loss is Loss.SUSPECT:
            self._queue.suspect(attempt)
        else:
            self._queue.lost(attempt)
        self._wake_all()
        self._settle()

    def _keep_what_failed(self) -> None:
        """The run ends before these were tried again: their last try is what came of them."""
        assert self._broken is not None
        if not self._broken.cancelled():
            return  # nothing more can be kept
        for attempt in self._queue.left():
            if attempt.last is not None:
                self._keep(attempt.job, attempt.last())

    @property
    def _stopping(self) -> bool:
        return self.interrupted or self._stop_reason is not None

    def _wake_all(self) -> None:
        for seat in self._seats.values():
            seat.wake.set()

    def _settle(self) -> None:
        """See whether there is nothing left to wait for."""
        if self.in_flight == 0 and (self._queue.is_empty or self._stopping):
            self._finished.set()


def _failed_try(worker: WorkerHandle, attempt: Attempt, outcome: Outcome, again: bool) -> AttemptRecord:
    fault = outcome.fault or Fault.OTHER
    return _record(worker, attempt, fault, outcome.error_kind, outcome.error, again, outcome.server)


def _lost_try(worker: WorkerHandle, attempt: Attempt, end: SeatEnd, again: bool) -> AttemptRecord:
    kinds = {EndKind.DIED: "WorkerDied", EndKind.HUNG: "WorkerHung", EndKind.BAD: "WorkerDrained"}
    return _record(worker, attempt, Fault.WORKER, kinds[end.kind], end.why, again)


def _record(
    worker: WorkerHandle,
    attempt: Attempt,
    fault: Fault,
    kind: str,
    message: str,
    again: bool,
    server: str = "",
) -> AttemptRecord:
    return AttemptRecord(
        task_id=attempt.job.task_id,
        sample_index=attempt.job.sample_index,
        number=attempt.number,
        worker=worker.name,
        node=worker.node,
        fault=str(fault),
        kind=kind,
        message=in_short(message),
        seconds=time.monotonic() - attempt.began,
        time=time.time(),
        server=server,
        again=again,
    )
