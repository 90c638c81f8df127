"""Every job ends in exactly one outcome, whatever dies; simulated workers, no processes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rollway.errors import UserError
from rollway.evaluation.backends import WorkerDied
from rollway.evaluation.driver import Driver, DriverStopped
from rollway.evaluation.driver_timings import DriverTimings
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.reports import RolloutReport, WorkerPlace, WorkerReport
from rollway.evaluation.run_directory import AttemptRecord
from rollway.evaluation.tasks import Job
from rollway.evaluation.whose_fault import Fault
from rollway.trajectory import StopReason

QUICK = DriverTimings(
    start=60.0,
    others=60.0,
    stop=0.05,
    restarts=(0.0,),
    pauses=(0.0,),
    ramp=60.0,
    drain=0.05,
    heartbeat=0.01,
    silent=0.3,
)


def jobs(count: int) -> list[Job]:
    return [Job({"task_id": str(n)}, str(n), 0, None) for n in range(count)]


def outcome(
    failed: bool = False,
    reason: StopReason = StopReason.COMPLETED,
    error: str = "",
    fault: Fault | None = None,
) -> Outcome:
    return Outcome(b"{}", reason, failed, None if failed else 1.0, 1, error, fault=fault)


def no_set_up() -> Outcome:
    """Of a rollout whose environment cannot be set up here."""
    return outcome(
        failed=True, reason=StopReason.ENVIRONMENT_ERROR, error="OSError: no", fault=Fault.ENVIRONMENT
    )


class SimulatedWorker:
    """Runs jobs by ``act(worker, job)``; `die` ends everything in flight on it."""

    def __init__(self, name: str, act: Callable[..., object]) -> None:
        self.name, self.node = name, "a machine"
        self.act = act
        self.answer: Callable[[], Awaitable[WorkerReport | None]] = self._no_answer
        self.killed = False
        self.dead = asyncio.get_running_loop().create_future()
        self.stopped = asyncio.Event()
        self.running = 0
        self.peak = 0
        self.closed = False

    async def _no_answer(self) -> None: ...

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

    async def kill(self) -> None:
        self.killed = True
        self.die()

    async def heartbeat(self) -> WorkerReport | None:
        return await self.answer()

    def report(self) -> WorkerReport | None:
        return None


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
        self.failed: set[str] = set()
        self.tries: list[AttemptRecord] = []
        self.given_up: list[str] = []
        self.driver = Driver(
            iter(jobs(count)),
            backend,
            places=places,
            concurrency=concurrency,
            keep=self._keep,
            give_up=self._give_up,
            tried=lambda record, outcome: self.tries.append(record),
            **({"timings": QUICK} | options),
        )

    def _keep(self, job: Job, outcome: Outcome) -> None:
        self.kept[job.task_id] += 1
        if outcome.failed:
            self.failed.add(job.task_id)

    def _give_up(self, job: Job, why: BaseException, worker: object) -> Outcome:
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


async def test_a_worker_that_does_not_answer_an_interrupt_is_not_waited_for() -> None:
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


async def test_a_cluster_that_gives_no_worker_ends_the_run_with_a_reason() -> None:
    class Full:
        async def start_worker(self, number: int) -> SimulatedWorker:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(DriverStopped, match="no worker started within"):
        await Run(Full(), 5, timings=replace(QUICK, start=0.05)).driver.run()


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


async def test_a_failed_rollout_is_done_again_after_all_others_on_another_worker() -> None:
    done: list[tuple[str, str]] = []

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0)
        done.append((job.task_id, worker.name))
        if job.task_id == "3" and [task for task, _ in done].count("3") == 1:
            return no_set_up()
        return outcome()

    run = Run(SimulatedBackend(act), 20)
    await run.driver.run()
    assert (run.kept_once(20), run.failed) == (True, set())
    (first, second) = [name for task, name in done if task == "3"]
    assert done[-1] == ("3", second)
    assert first != second
    [tried] = run.tries
    assert (tried.task_id, tried.sample_index, tried.number, tried.worker) == ("3", 0, 1, first)
    assert (tried.node, tried.fault, tried.message, tried.again) == (
        "a machine",
        "environment",
        "OSError: no",
        True,
    )


@pytest.mark.parametrize("places", [1, 2, 5])
async def test_a_rollout_that_fails_everywhere_is_tried_three_times(places: int) -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0)
        return no_set_up() if job.task_id == "3" else outcome()

    run = Run(SimulatedBackend(act), 20, places=places)
    await run.driver.run()
    assert (run.kept_once(20), run.failed) == (True, {"3"})
    assert [(tried.number, tried.again) for tried in run.tries] == [(1, True), (2, True), (3, False)]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.REWARD, Fault.USER, Fault.OTHER])
async def test_what_would_fail_everywhere_is_tried_once(fault: Fault) -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        return outcome(failed=job.task_id == "3", fault=fault if job.task_id == "3" else None)

    run = Run(SimulatedBackend(act), 20)
    await run.driver.run()
    assert (run.kept_once(20), run.failed, len(run.tries)) == (True, {"3"}, 1)


async def test_failed_rollouts_are_on_record_when_the_run_stops_before_they_are_tried_again() -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0)
        return no_set_up()

    run = Run(SimulatedBackend(act), 1000, stop_after_failures=6)
    with pytest.raises(DriverStopped, match="rollouts failed in a row; the last error: OSError: no"):
        await run.driver.run()
    assert len(run.tries) == run.kept.total() <= 6 + 8
    assert set(run.kept.values()) == {1}


@pytest.mark.parametrize("seconds", [0.0, 0.01])
async def test_one_broken_worker_of_two_wastes_few_tries_and_no_rollout(seconds: float) -> None:
    """It fails at once, long before the other one has done its first rollout."""

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if worker.name.startswith("0."):
            await asyncio.sleep(seconds)
            return no_set_up()
        await asyncio.sleep(0.01)
        return outcome()

    backend = SimulatedBackend(act)
    run = Run(backend, 1000, concurrency=32, stop_after_failures=32)
    await run.driver.run()
    assert (run.kept_once(1000), run.failed) == (True, set())
    assert len(run.tries) <= 8
    assert len([worker for worker in backend.workers if worker.name.startswith("0.")]) == 2
    assert all(worker.closed for worker in backend.workers)


async def test_a_broken_worker_that_runs_first_waits_for_the_others_to_start() -> None:
    class Backend(SimulatedBackend):
        async def start_worker(self, number: int) -> SimulatedWorker:
            if number > 0:
                await asyncio.sleep(0.05)
            return await super().start_worker(number)

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0)
        return no_set_up() if worker.name.startswith("0.") else outcome()

    run = Run(Backend(act), 500, concurrency=32, stop_after_failures=32)
    await run.driver.run()
    assert (run.kept_once(500), run.failed) == (True, set())
    assert len(run.tries) <= 8


async def test_a_worker_is_not_awaited_for_ever_to_show_whose_fault_it_is() -> None:
    class Backend(SimulatedBackend):
        async def start_worker(self, number: int) -> SimulatedWorker:
            if number > 0:
                await asyncio.Event().wait()
            return await super().start_worker(number)

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0)
        return no_set_up()

    run = Run(Backend(act), 500, stop_after_failures=32, timings=replace(QUICK, others=0.01))
    with pytest.raises(DriverStopped, match="rollouts failed in a row"):
        await asyncio.wait_for(run.driver.run(), 60)


async def test_many_broken_workers_do_not_end_a_run_that_goes_well_elsewhere() -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if int(worker.name.partition(".")[0]) % 2:
            await asyncio.sleep(0)
            return no_set_up()
        await asyncio.sleep(0.005)
        return outcome()

    run = Run(SimulatedBackend(act), 2000, places=20, concurrency=16, stop_after_failures=32)
    await run.driver.run()
    assert (run.kept_once(2000), run.failed) == (True, set())


async def test_a_worker_that_breaks_on_the_way_is_replaced_and_its_successor_goes_on() -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0.001)
        done[worker.name] += 1
        return no_set_up() if worker.name == "0.0" and done[worker.name] > 50 else outcome()

    done: Counter[str] = Counter()
    backend = SimulatedBackend(act)
    run = Run(backend, 600, concurrency=8)
    await run.driver.run()
    assert (run.kept_once(600), run.failed) == (True, set())
    assert len(backend.workers) == 3
    assert done["0.2"] > 50
    assert len(run.tries) <= 32


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
async def test_an_environment_that_often_fails_costs_no_worker_its_place(share: float) -> None:
    rng = random.Random(7)

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0.001 * rng.random())
        return no_set_up() if rng.random() < share else outcome()

    backend = SimulatedBackend(act)
    run = Run(backend, 3000, places=3, concurrency=8, attempts=2)
    await run.driver.run()
    assert run.kept_once(3000)
    assert len(backend.workers) <= 4, "one by chance, while it was new"


async def test_a_worker_gets_few_rollouts_until_it_has_done_one() -> None:
    first = asyncio.Event()

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if job.task_id == "0":
            await asyncio.sleep(0.01)
            early.append(worker.running)
            first.set()
        await first.wait()
        await asyncio.sleep(0.001)
        return outcome()

    early: list[int] = []
    backend = SimulatedBackend(act)
    await Run(backend, 100, places=1, concurrency=16).driver.run()
    assert early == [4]
    assert backend.workers[0].peak == 16


async def test_a_worker_whose_first_rollouts_take_long_gets_more_of_them_in_time() -> None:
    full = asyncio.Event()

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if worker.running == 16:
            full.set()
        await full.wait()
        return outcome()

    run = Run(SimulatedBackend(act), 100, places=1, concurrency=16, timings=replace(QUICK, ramp=0.001))
    await asyncio.wait_for(run.driver.run(), 60)


async def test_a_worker_that_cannot_load_does_not_end_a_run_that_goes_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    well = asyncio.Event()

    class Backend(SimulatedBackend):
        async def start_worker(self, number: int) -> SimulatedWorker:
            if number == 0:
                return await super().start_worker(number)
            await well.wait()
            raise UserError("env.py does not import here")

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        await asyncio.sleep(0.001)
        if int(job.task_id) > 10:
            well.set()
        return outcome()

    run = Run(Backend(act), 100)
    await run.driver.run()
    assert run.kept_once(100)
    assert "worker 1 cannot begin, the others go on: env.py does not import here" in caplog.text


def report(lag: float = 0.0, blocker: RolloutReport | None = None) -> WorkerReport:
    place = WorkerPlace("a worker", "a machine", 1)
    return WorkerReport(place=place, in_flight=1, lag=lag, blocker=blocker, stacks="in done, line 3")


async def test_a_process_that_stands_still_is_killed_and_its_rollouts_are_done_elsewhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if worker.name == "0.0":
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return outcome()

    class Backend(SimulatedBackend):
        async def start_worker(self, number: int) -> SimulatedWorker:
            worker = await super().start_worker(number)
            if worker.name == "0.0":
                worker.answer = asyncio.Event().wait  # type: ignore[assignment]
            return worker

    backend = Backend(act)
    run = Run(backend, 40, places=1)
    await asyncio.wait_for(run.driver.run(), 60)
    assert (run.kept_once(40), run.failed) == (True, set())
    assert backend.workers[0].killed
    assert "its process has not answered for 0.3 s" in caplog.text
    assert {(tried.kind, tried.fault) for tried in run.tries} == {("WorkerHung", "worker")}


async def test_a_rollout_that_blocks_its_worker_is_named_and_costs_the_others_one_try(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same job blocks every worker: it runs alone the second time, and has failed then."""

    class Backend(SimulatedBackend):
        async def start_worker(self, number: int) -> SimulatedWorker:
            worker = await super().start_worker(number)
            blocker = RolloutReport("5", 0, "done", 70.0, 61.0)

            async def answer() -> WorkerReport:
                return report(61.0, blocker) if worker in blocked else report()

            worker.answer = answer
            return worker

    async def act(worker: SimulatedWorker, job: Job) -> Outcome:
        if job.task_id == "5":
            with_it.append(worker.running)
            blocked.append(worker)
            await asyncio.Event().wait()
        if worker in blocked:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return outcome()

    blocked: list[SimulatedWorker] = []
    with_it: list[int] = []
    run = Run(Backend(act), 40, places=1)
    await asyncio.wait_for(run.driver.run(), 60)
    assert (run.kept_once(40), run.failed, run.given_up) == (True, {"5"}, ["5"])
    assert len(with_it) == 2
    assert with_it[1] == 1
    assert "held up by rollout 5/0 (done for 61 s)" in caplog.text
    assert "in done, line 3" in caplog.text
