"""Every job ends in exactly one outcome, whatever dies; simulated workers, no processes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.errors import UserError
from rollway.evaluation import driver as driver_module
from rollway.evaluation.backends import WorkerDied
from rollway.evaluation.driver import Driver, DriverStopped
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.tasks import Job
from rollway.trajectory import StopReason


def jobs(count: int) -> list[Job]:
    return [Job({"task_id": str(n)}, str(n), 0, None) for n in range(count)]


def outcome(failed: bool = False, reason: StopReason = StopReason.COMPLETED, error: str = "") -> Outcome:
    return Outcome(b"{}", reason, failed, None if failed else 1.0, 1, error)


class SimulatedWorker:
    """Runs jobs by ``act(worker, job)``; `die` ends everything in flight on it."""

    def __init__(self, name: str, act: Callable[..., object]) -> None:
        self.name = name
        self.act = act
        self.dead = asyncio.get_running_loop().create_future()
        self.stopped = asyncio.Event()
        self.running = 0
        self.peak = 0
        self.closed = False

    def die(self) -> None:
        if not self.dead.done():
            self.dead.set_result(None)

    async def run(self, job: Job) -> Outcome:
        if self.dead.done():
            raise WorkerDied(self.name)
        self.running += 1
        self.peak = max(self.peak, self.running)
        work = asyncio.ensure_future(self.act(self, job))
        try:
            await asyncio.wait([work, self.dead], return_when=asyncio.FIRST_COMPLETED)
            if self.dead.done():
                raise WorkerDied(self.name)
            return work.result()
        finally:
            work.cancel()
            self.running -= 1

    async def stop(self) -> None:
        self.stopped.set()

    async def close(self) -> None:
        self.closed = True


class SimulatedBackend:
    def __init__(self, act: Callable[..., object], *, failing_starts: int = 0) -> None:
        self.act = act
        self.failing_starts = failing_starts
        self.workers: list[SimulatedWorker] = []

    async def start_worker(self, number: int) -> SimulatedWorker:
        await asyncio.sleep(0)
        if self.failing_starts:
            self.failing_starts -= 1
            raise WorkerDied("it never came up")
        worker = SimulatedWorker(f"{number}.{len(self.workers)}", self.act)
        self.workers.append(worker)
        return worker


class Run:
    """A driver and what it kept."""

    def __init__(
        self, backend: object, count: int, *, places: int = 2, concurrency: int = 4, **options: object
    ):
        self.kept: Counter[str] = Counter()
        self.given_up: list[str] = []
        self.driver = Driver(
            iter(jobs(count)),
            backend,
            places=places,
            concurrency=concurrency,
            keep=lambda job, outcome: self.kept.update([job.task_id]),
            give_up=self._give_up,
            **options,
        )

    def _give_up(self, job: Job, why: BaseException) -> Outcome:
        self.given_up.append(job.task_id)
        return outcome(failed=True, reason=StopReason.ENVIRONMENT_ERROR)

    def kept_once(self, count: int) -> bool:
        return self.kept == Counter(str(n) for n in range(count))


async def finish(worker: SimulatedWorker, job: Job) -> Outcome:
    await asyncio.sleep(0)
    return outcome()


@given(
    count=st.integers(0, 40),
    places=st.integers(1, 4),
    concurrency=st.integers(1, 8),
    deaths=st.integers(0, 12),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60)
def test_no_job_is_lost_or_doubled_however_many_workers_die(
    count: int, places: int, concurrency: int, deaths: int, seed: int
) -> None:
    rng = random.Random(seed)
    left = deaths

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        nonlocal left
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        if left and rng.random() < 0.2:
            left -= 1
            worker.die()
            await asyncio.sleep(0)
        return outcome()

    async def main() -> Run:
        run = Run(SimulatedBackend(act), count, places=places, concurrency=concurrency)
        async with asyncio.timeout(60):
            await run.driver.run()
        return run

    run = asyncio.run(main())
    assert run.kept_once(count)
    assert run.driver.in_flight == 0


@given(
    poison=st.sets(st.integers(0, 29), max_size=5),
    places=st.integers(1, 3),
    concurrency=st.integers(1, 16),
    delay=st.integers(0, 3),
)
@settings(max_examples=60)
def test_jobs_that_kill_their_worker_are_found_out_and_cost_no_other_job(
    poison: set[int], places: int, concurrency: int, delay: int
) -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        for _ in range(delay):
            await asyncio.sleep(0)
        if int(job.task_id) in poison:
            worker.die()
        await asyncio.sleep(0)
        return outcome()

    async def main() -> Run:
        run = Run(SimulatedBackend(act), 30, places=places, concurrency=concurrency)
        async with asyncio.timeout(60):
            await run.driver.run()
        return run

    run = asyncio.run(main())
    assert run.kept_once(30)
    assert sorted(run.given_up) == sorted(str(n) for n in poison)


async def test_one_bad_job_among_many_is_found_in_few_deaths() -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if job.task_id == "30":
            worker.die()
        await asyncio.sleep(0.001)
        return outcome()

    backend = SimulatedBackend(act)
    run = Run(backend, 64, places=1, concurrency=64)
    await run.driver.run()
    assert (run.given_up, run.kept_once(64)) == (["30"], True)
    assert len(backend.workers) <= 2 + 7, "two deaths, and then groups of 32, 16, 8, 4, 2, 1"


async def test_no_more_jobs_are_in_flight_on_a_worker_than_asked_for() -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0.001)
        return outcome()

    backend = SimulatedBackend(act)
    await Run(backend, 50, places=2, concurrency=5).driver.run()
    assert [worker.peak for worker in backend.workers] == [5, 5]
    assert all(worker.closed for worker in backend.workers)


async def test_an_exception_in_one_job_ends_that_job_alone() -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if job.task_id == "1":
            raise RuntimeError("a fault of the engine")
        return outcome()

    run = Run(SimulatedBackend(act), 5)
    await run.driver.run()
    assert run.kept_once(5)
    assert run.given_up == ["1"]


async def test_failures_in_a_row_stop_the_handing_out() -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0)
        if int(job.task_id) < 10:
            return outcome()
        return outcome(failed=True, reason=StopReason.MODEL_ERROR, error="ServerUnreachable: gone")

    run = Run(SimulatedBackend(act), 10_000, stop_after_failures=6)
    with pytest.raises(
        DriverStopped, match="6 rollouts failed in a row; the last error: ServerUnreachable: gone"
    ):
        await run.driver.run()
    assert 16 <= run.kept.total() <= 16 + 8


async def test_failures_between_successes_stop_nothing() -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        return outcome(failed=int(job.task_id) % 2 == 0)

    run = Run(SimulatedBackend(act), 100, places=1, concurrency=1, stop_after_failures=2)
    await run.driver.run()
    assert run.kept_once(100)


async def test_an_interrupt_hands_out_nothing_more_and_takes_in_what_was_in_flight() -> None:
    started = asyncio.Event()

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if int(job.task_id) == 20:
            started.set()
        if int(job.task_id) >= 17:
            await worker.stopped.wait()
            return outcome(failed=True, reason=StopReason.CANCELLED)
        return outcome()

    run = Run(SimulatedBackend(act), 1000, places=1, concurrency=4)
    running = asyncio.create_task(run.driver.run())
    await asyncio.wait_for(started.wait(), 60)
    run.driver.interrupt()
    await asyncio.wait_for(running, 60)
    assert run.kept == Counter(str(n) for n in range(21))


async def test_a_worker_that_does_not_answer_an_interrupt_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver_module, "STOP_SECONDS", 0.05)
    started = asyncio.Event()

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        started.set()
        await asyncio.Event().wait()
        return outcome()

    run = Run(SimulatedBackend(act), 10)
    running = asyncio.create_task(run.driver.run())
    await asyncio.wait_for(started.wait(), 60)
    run.driver.interrupt()
    await asyncio.wait_for(running, 60)
    assert run.kept.total() == 0


async def test_a_worker_that_dies_while_starting_is_tried_again() -> None:
    run = Run(SimulatedBackend(finish, failing_starts=2), 5, places=1)
    await run.driver.run()
    assert run.kept_once(5)


async def test_workers_that_never_start_end_the_run_with_a_reason() -> None:
    run = Run(SimulatedBackend(finish, failing_starts=100), 5)
    with pytest.raises(DriverStopped, match="no worker is left"):
        await run.driver.run()


async def test_a_cluster_that_gives_no_worker_ends_the_run_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver_module, "START_SECONDS", 0.05)

    class Full:
        async def start_worker(self, number: int) -> SimulatedWorker:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(DriverStopped, match="no worker started within"):
        await Run(Full(), 5).driver.run()


async def test_what_the_user_has_to_mend_ends_the_run_at_once() -> None:
    class Broken:
        async def start_worker(self, number: int) -> SimulatedWorker:
            raise UserError("env.py does not import here")

    with pytest.raises(UserError, match="does not import here"):
        await Run(Broken(), 5).driver.run()


async def test_what_goes_wrong_while_the_last_rollout_ends_is_told(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Event()

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        ended.set()
        return outcome()

    class Backend(SimulatedBackend):
        async def start_worker(self, number: int) -> SimulatedWorker:
            if number == 0:
                return await super().start_worker(number)
            try:
                await ended.wait()
                await asyncio.Event().wait()
            finally:
                raise RuntimeError("the machine of the second worker is gone")

    run = Run(Backend(act), 1)
    await run.driver.run()
    assert run.kept_once(1)
    assert "the machine of the second worker is gone" in caplog.text
