"""Jobs and outcomes travel in batches, and each is answered for all the same; Ray's part is played here."""

from __future__ import annotations

import asyncio
import logging
import pickle
import random
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.evaluation import actor as actor_module
from rollway.evaluation import outbox, ray_backend
from rollway.evaluation.actor import Exchange, RolloutActor
from rollway.evaluation.backends import WorkerDied
from rollway.evaluation.driver import Driver
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.ray_backend import JobFault, RayWorker
from rollway.evaluation.reports import WorkerPlace
from rollway.evaluation.run_log import logging_to
from rollway.evaluation.tapes import Recorded
from rollway.evaluation.tasks import Job
from rollway.trajectory import StopReason

Act = Callable[[Job], Awaitable[Outcome]]


def job(number: int) -> Job:
    return Job({"task_id": str(number)}, str(number), 0, None)


def outcome(line: bytes = b"{}", reason: StopReason = StopReason.COMPLETED) -> Outcome:
    return Outcome(line, reason, False, 1.0, 1)


async def at_once(job: Job) -> Outcome:
    return outcome(job.task_id.encode())


class Worker:
    """Stands in for `RolloutWorker`: each job is an ``act``."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.running: set[asyncio.Task[Outcome]] = set()

    async def open(self) -> None: ...

    async def run(self, job: Job) -> Outcome:
        task = asyncio.ensure_future(self.act(job))
        self.running.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self.running.discard(task)
        return outcome(reason=StopReason.CANCELLED) if task.cancelled() else task.result()

    async def report(self) -> None: ...

    async def stop(self) -> None:
        for task in self.running:
            task.cancel()

    async def close(self) -> None:
        await self.stop()


class Process:
    """An actor's process, as Ray shows it to the driver: calls fail when it dies, and nothing leaves it."""

    def __init__(self, act: Act) -> None:
        self.actor = Exchange()
        self.calls: Counter[str] = Counter()
        self.dead: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.worker = Worker(act)

    async def started(self, monkeypatch: pytest.MonkeyPatch) -> RayWorker:
        with monkeypatch.context() as patch:
            patch.setattr(actor_module, "RolloutWorker", lambda spec, place: self.worker)
            patch.setattr(actor_module, "collecting_rarely", nullcontext)
            await self.actor.open(None)  # type: ignore[arg-type]
        return RayWorker(self, WorkerPlace("process 1 on a machine", "a machine", 1))

    def __getattr__(self, name: str) -> Any:
        return _Method(self, name)

    def die(self) -> None:
        if not self.dead.done():
            self.dead.set_result(None)

    async def call(self, name: str, *args: Any) -> Any:
        method = self.worker.report if name == "report" else getattr(self.actor, name)
        work = asyncio.ensure_future(method(*args))
        await asyncio.wait([work, self.dead], return_when=asyncio.FIRST_COMPLETED)
        if self.dead.done():
            work.cancel()
            raise ray.exceptions.RayActorError
        return work.result()


class _Method:
    def __init__(self, process: Process, name: str) -> None:
        self.process, self.name = process, name

    def options(self, **_: Any) -> _Method:
        return self

    def remote(self, *args: Any) -> asyncio.Task[Any]:
        self.process.calls[self.name] += 1
        task = asyncio.create_task(self.process.call(self.name, *args))
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return task


@pytest.fixture(autouse=True)
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`ray.kill` ends such a process; handlers of its log go with it."""
    handlers = list(logging.getLogger("rollway").handlers)
    monkeypatch.setattr(ray, "kill", lambda process: process.die())
    yield
    logging.getLogger("rollway").handlers = handlers


def fetch_every(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(outbox, "FETCH_SECONDS", seconds)


async def soon(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, 60)


class Backend:
    """Starts such processes, for a driver."""

    def __init__(self, act: Callable[[Process, Job], Awaitable[Outcome]], patch: pytest.MonkeyPatch) -> None:
        self.act, self.patch = act, patch
        self.processes: list[Process] = []

    async def start_worker(self, number: int) -> RayWorker:
        process = Process(lambda job: self.act(process, job))
        self.processes.append(process)
        return await process.started(self.patch)


class Run:
    """A driver and what it kept."""

    def __init__(self, backend: Backend, count: int, *, places: int = 2, concurrency: int = 8) -> None:
        self.kept: Counter[str] = Counter()
        self.driver = Driver(
            iter([job(number) for number in range(count)]),
            backend,
            places=places,
            concurrency=concurrency,
            keep=lambda job, outcome: self.kept.update([job.task_id]),
            give_up=lambda job, why, worker: outcome(),
        )

    def kept_once(self, count: int) -> bool:
        return self.kept == Counter(str(number) for number in range(count))


async def test_many_jobs_take_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def brief(process: Process, job: Job) -> Outcome:
        await asyncio.sleep(0.001)
        return outcome()

    backend = Backend(brief, monkeypatch)
    run = Run(backend, 640, places=1, concurrency=64)
    await soon(run.driver.run())
    assert run.kept_once(640)
    [process] = backend.processes
    assert process.calls["hand"] + process.calls["fetch"] < 640 / 8


async def test_an_outcome_with_nothing_to_wait_for_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_every(monkeypatch, 3600.0)
    worker = await Process(at_once).started(monkeypatch)
    for number in range(3):  # alone in flight, one after the other
        assert (await soon(worker.run(job(number)))).line == str(number).encode()
    await worker.close()


async def test_a_slow_rollout_holds_back_no_other_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = asyncio.Event()

    async def act(job: Job) -> Outcome:
        if job.task_id == "0":
            await slow.wait()
        return outcome(job.task_id.encode())

    worker = await Process(act).started(monkeypatch)
    waiting = asyncio.create_task(worker.run(job(0)))
    for number in range(1, 4):
        assert (await soon(worker.run(job(number)))).line == str(number).encode()
    assert not waiting.done()
    slow.set()
    assert (await soon(waiting)).line == b"0"
    await worker.close()


async def test_outcomes_leave_in_the_order_in_which_they_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []

    async def act(job: Job) -> Outcome:
        await asyncio.sleep(int(job.task_id) % 3 * 0.01)
        order.append(int(job.task_id))
        return outcome()

    worker = await Process(act).started(monkeypatch)
    taken: list[int] = []

    async def run(number: int) -> None:
        await worker.run(job(number))
        taken.append(number)

    await soon(asyncio.gather(*(run(number) for number in range(9))))
    assert taken == order
    await worker.close()


async def test_jobs_with_long_records_are_handed_over_a_bounded_part_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_backend, "SEND_BYTES", 3_000)
    process = Process(at_once)
    worker = await process.started(monkeypatch)
    long = [Job({"task_id": str(n)}, str(n), 0, None, Recorded(b"x" * 1_000)) for n in range(20)]
    found = await soon(asyncio.gather(*(worker.run(job) for job in long)))
    assert [one.line for one in found] == [job.task_id.encode() for job in long]
    assert process.calls["hand"] >= 8
    await worker.close()


async def test_what_ended_and_was_not_fetched_is_done_again_when_the_worker_dies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch_every(monkeypatch, 3600.0)
    runs: Counter[str] = Counter()
    first_kept, all_ended = asyncio.Event(), asyncio.Event()

    async def act(process: Process, job: Job) -> Outcome:
        runs[job.task_id] += 1
        if process is backend.processes[0] and job.task_id != "0":
            await first_kept.wait()
            if job.task_id == "7":
                asyncio.get_running_loop().call_soon(all_ended.set)
                await asyncio.Event().wait()  # one more in flight, so that what has ended may wait for it
        return outcome()

    backend = Backend(act, monkeypatch)
    run = Run(backend, 8, places=1, concurrency=8)
    running = asyncio.create_task(run.driver.run())
    while not run.kept:
        await asyncio.sleep(0)
    first_kept.set()
    await soon(all_ended.wait())
    await asyncio.sleep(0.01)
    assert run.kept.total() == 1
    backend.processes[0].die()
    await soon(running)
    assert run.kept_once(8)
    assert runs == Counter({"0": 1, **{str(number): 2 for number in range(1, 8)}})


@given(
    count=st.integers(0, 100),
    places=st.integers(1, 3),
    concurrency=st.integers(1, 12),
    deaths=st.integers(0, 8),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25)
def test_no_job_is_lost_or_doubled_in_a_batch_whenever_its_worker_dies(
    count: int, places: int, concurrency: int, deaths: int, seed: int
) -> None:
    rng, left = random.Random(seed), deaths

    async def act(process: Process, job: Job) -> Outcome:
        nonlocal left
        await asyncio.sleep(rng.random() * 0.002)
        if left and rng.random() < 0.2:
            left -= 1
            asyncio.get_running_loop().call_later(rng.random() * 0.003, process.die)
        return outcome()

    async def main(patch: pytest.MonkeyPatch) -> Run:
        fetch_every(patch, 0.002)
        run = Run(Backend(act, patch), count, places=places, concurrency=concurrency)
        async with asyncio.timeout(20):
            await run.driver.run()
        return run

    with pytest.MonkeyPatch.context() as patch:
        run = asyncio.run(main(patch))
    assert run.kept_once(count)
    assert run.driver.in_flight == 0


async def test_nothing_waits_for_a_worker_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(job: Job) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    process = Process(never)
    worker = await process.started(monkeypatch)
    waiting = [asyncio.create_task(worker.run(job(number))) for number in range(3)]
    await asyncio.sleep(0)
    process.die()
    for task in waiting:
        with pytest.raises(WorkerDied):
            await soon(task)
    with pytest.raises(WorkerDied):
        await soon(worker.run(job(3)))
    await worker.close()


class Reluctant(dict[str, Any]):
    """A task that cannot be brought over, at one end or the other."""

    def __init__(self, end: str) -> None:
        super().__init__(task_id=end)

    def __reduce__(self) -> Any:
        if self["task_id"] == "driver":
            raise TypeError("not to be pickled")
        return (_refuse, ())


def _refuse() -> Any:
    raise ImportError("no such module here")


@pytest.mark.parametrize(("end", "error"), [("driver", TypeError), ("worker", JobFault)])
async def test_a_job_that_cannot_be_brought_over_fails_alone(
    end: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await Process(at_once).started(monkeypatch)
    bad = Job(Reluctant(end), end, 0, None)
    first, failed, last = await soon(
        asyncio.gather(worker.run(job(0)), worker.run(bad), worker.run(job(1)), return_exceptions=True)
    )
    assert (first.line, last.line) == (b"0", b"1")
    assert isinstance(failed, error)
    await worker.close()


async def test_a_fault_of_the_engine_ends_its_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(job: Job) -> Outcome:
        if job.task_id == "1":
            raise RuntimeError("a fault of the engine")
        return outcome()

    worker = await Process(act).started(monkeypatch)
    runs = [worker.run(job(number)) for number in range(3)]
    found = await soon(asyncio.gather(*runs, return_exceptions=True))
    assert [type(one) for one in found] == [Outcome, JobFault, Outcome]
    assert "RuntimeError: a fault of the engine" in str(found[1])
    await worker.close()


async def test_stop_brings_back_all_that_was_in_flight_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_every(monkeypatch, 3600.0)

    async def never(job: Job) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    process = Process(never)
    worker = await process.started(monkeypatch)
    waiting = asyncio.gather(*(worker.run(job(number)) for number in range(20)))
    async with asyncio.timeout(60):
        while len(process.worker.running) < 20:
            await asyncio.sleep(0)
    await worker.stop()
    assert {one.stop_reason for one in await soon(waiting)} == {StopReason.CANCELLED}
    await worker.close()


async def test_warnings_of_the_worker_come_with_its_outcomes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(job: Job) -> Outcome:
        logging.getLogger("rollway.somewhere").warning("task %s was odd", job.task_id)
        return outcome()

    worker = await Process(act).started(monkeypatch)
    await soon(asyncio.gather(*(worker.run(job(number)) for number in range(3))))
    await worker.close()
    for number in range(3):
        assert f"(process 1 on a machine) task {number} was odd" in caplog.text


async def test_what_is_printed_in_the_worker_comes_with_its_outcomes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def act(job: Job) -> Outcome:
        print(f"task {job.task_id} was printed")
        logging.getLogger("shop").info("task %s was sold", job.task_id)
        return outcome()

    with logging_to(tmp_path / "log.txt"):
        worker = await Process(act).started(monkeypatch)
        await soon(asyncio.gather(*(worker.run(job(number)) for number in range(3))))
        await worker.close()
    log = (tmp_path / "log.txt").read_text()
    for number in range(3):
        assert f"INFO stdout: (process 1 on a machine) task {number} was printed\n" in log
        assert f"INFO shop: (process 1 on a machine) task {number} was sold\n" in log


def started_actor(monkeypatch: pytest.MonkeyPatch, act: Act) -> RolloutActor:
    monkeypatch.setattr(actor_module, "RolloutWorker", lambda spec, place: Worker(act))
    monkeypatch.setattr(actor_module, "collecting_rarely", nullcontext)
    actor = RolloutActor()
    place, fault = actor.open(None)  # type: ignore[arg-type]
    assert place.name.startswith("process ")
    assert fault is None
    return actor


def test_the_work_of_a_process_goes_on_while_no_call_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    went_on = threading.Event()

    async def act(job: Job) -> Outcome:
        await asyncio.sleep(0)
        went_on.set()
        return outcome(job.task_id.encode())

    actor = started_actor(monkeypatch, act)
    actor.hand([(1, pickle.dumps(job(1)))])
    assert went_on.wait(20)
    arrived, _ = actor.fetch([(2, pickle.dumps(job(2)))])
    while len(arrived) < 2:
        arrived += actor.fetch([])[0]
    assert {found.number: found.outcome.line for found in arrived if found.outcome} == {1: b"1", 2: b"2"}
    actor.close()


@pytest.mark.timeout(60)
def test_code_that_exits_on_a_workers_loop_does_not_leave_the_driver_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(job: Job) -> Outcome:
        asyncio.get_running_loop().call_soon(sys.exit, "enough")
        await asyncio.sleep(0.01)
        return outcome()

    actor = started_actor(monkeypatch, act)
    (ended,), _ = actor.fetch([(1, pickle.dumps(job(1)))])
    assert ended.outcome is not None
    assert "SystemExit('enough')" in caplog.text
    actor.close()
