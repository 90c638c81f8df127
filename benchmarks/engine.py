"""One run of the engine against the scripted server, with everything on that a real run has.

The driver, workers, records, sequences, scores and the run directory are those of ``rollway eval``; only the
checks before a run and the summary after it are left out. The clock starts when every worker has done its
warm-up and stops when the last rollout is on disk. ``python -m benchmarks.engine '{...}'`` prints one line of
JSON.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from benchmarks.measure import Lag, Stopwatch, cpu_of, descendants, own_memory, rss
from rollway.environments.loading import environment_source
from rollway.evaluation.backends import Backend, LocalBackend, WorkerHandle
from rollway.evaluation.config import EvalConfig, ModelConfig
from rollway.evaluation.identity import RunIdentity
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.plan import named_model, prepare
from rollway.evaluation.ray_backend import RayBackend, connected
from rollway.evaluation.reports import WorkerReport
from rollway.evaluation.run_directory import RunDirectory, Wanted, open_run, part_files
from rollway.evaluation.sitting import drive
from rollway.evaluation.status import StatusFile
from rollway.evaluation.tasks import Job
from rollway.evaluation.worker import WorkerSpec
from rollway.event_loop import new_event_loop
from rollway.limits import Limits

ENVIRONMENT = f"{Path(__file__).with_name('environment.py')}:ScriptedEnvironment"
WARM_UP = 16  # rollouts of each worker that are not measured


class Asked(msgspec.Struct):
    """What to run."""

    address: str
    path: str
    rollouts: int
    in_flight: int  # of all workers together
    workers: int = 0  # 0: in this process, without Ray
    max_turns: int = 100
    pool: int = 64
    tool: str = "quick"  # one of `environment.TOOLS`
    profile: str | None = None  # a file for cProfile's numbers
    sample_every: int | None = None  # note the memory after so many rollouts
    watch: bool = True  # how late the event loops of Ray's workers are
    hold: float | None = None  # seconds after which the memory is read, while every reply is held back


class MeasuredWorker:
    """A worker that is warm, and tells what it cost when it is closed."""

    def __init__(self, inner: WorkerHandle, measured: MeasuredBackend) -> None:
        self.inner = inner
        self.name, self.node = inner.name, inner.node
        self.measured = measured
        found = self.name.split()
        self.pid = int(found[1]) if found[0] == "process" else os.getpid()

    async def run(self, job: Job) -> Outcome:
        return await self.inner.run(job)

    async def stop(self) -> None:
        await self.inner.stop()

    async def heartbeat(self) -> WorkerReport | None:
        return await self.inner.heartbeat()

    def report(self) -> WorkerReport | None:
        return self.inner.report()

    async def kill(self) -> None:
        await self.inner.kill()

    async def close(self) -> None:
        self.measured.finish()
        await self.inner.close()


class MeasuredBackend:
    """Starts workers one and all, warms them up, and then starts the clock."""

    def __init__(self, inner: Backend, asked: Asked, lag_dir: Path) -> None:
        self.inner = inner
        self.places = max(1, asked.workers)
        self.workers: list[MeasuredWorker] = []
        self.ready = asyncio.Event()
        self.lag_dir = lag_dir
        self.profiler = cProfile.Profile() if asked.profile else None
        self.told: dict[str, Any] = {}

    async def start_worker(self, number: int) -> MeasuredWorker:
        worker = MeasuredWorker(await self.inner.start_worker(number), self)
        jobs = [Job({"task_id": f"warm-{index}"}, f"warm-{index}", 0, 1) for index in range(WARM_UP)]
        for outcome in await asyncio.gather(*(worker.run(job) for job in jobs)):
            if outcome.reward != 1.0:
                raise RuntimeError(f"the warm-up failed: {outcome.stop_reason} {outcome.error}")
        self.workers.append(worker)
        if len(self.workers) == self.places:
            await asyncio.sleep(1.0 if self.pids else 0.0)  # what Ray still does about the start
            self.begin()
        await self.ready.wait()
        return worker

    @property
    def pids(self) -> list[int]:
        """Workers that are processes of their own."""
        return [worker.pid for worker in self.workers if worker.pid != os.getpid()]

    def begin(self) -> None:
        (self.lag_dir / "go").touch()
        self.before = {pid: cpu_of(pid) for pid in self.pids}
        self.others = descendants(os.getpid()) - set(self.pids)
        self.others_before = sum(map(cpu_of, self.others))
        self.rss_before = rss()
        self.watch = Stopwatch()
        self.ready.set()
        if self.profiler is not None:
            self.profiler.enable()

    def finish(self) -> None:
        """Take the readings, once."""
        if self.told:
            return
        if self.profiler is not None:
            self.profiler.disable()
        self.told = self.watch.told() | {
            "rss_before": self.rss_before,
            "workers_cpu_s": sum(cpu_of(pid) - before for pid, before in self.before.items()),
            "ray_cpu_s": sum(map(cpu_of, self.others)) - self.others_before if self.pids else 0.0,
            "workers_peak_rss": max((rss(pid, peak=True) for pid in self.pids), default=0),
        }


class Memory:
    """The memory of driver and workers over a run, without that of Ray's object store."""

    def __init__(self, run: RunDirectory, measured: MeasuredBackend, every: int) -> None:
        self.run, self.measured, self.every = run, measured, every
        self.samples: list[tuple[int, int, list[int]]] = []  # rollouts on disk, driver, each worker

    async def watch(self) -> None:
        while True:
            done = len(self.run.done)
            if done >= self.every * len(self.samples):
                workers = [own_memory(pid) for pid in self.measured.pids]
                self.samples.append((done, own_memory(), workers))
            await asyncio.sleep(0.1)


def settings(asked: Asked, folder: Path) -> EvalConfig:
    lag_dir = folder / "lag"
    lag_dir.mkdir()
    return EvalConfig(
        environment=ENVIRONMENT,
        environment_args={
            "count": asked.rollouts,
            "tool": asked.tool,
            "lag_dir": str(lag_dir) if asked.workers and asked.watch else None,
        },
        model=ModelConfig(base_url=asked.address + asked.path, name="scripted", require_token_data=True),
        limits=Limits(max_turns=asked.max_turns, timeout=3600.0),
        workers=asked.workers,
        concurrency=max(1, asked.in_flight // max(1, asked.workers)),
        pool_size=asked.pool,
        out=str(folder / "run"),
    )


async def run(asked: Asked, folder: Path) -> dict[str, Any]:
    plan = prepare(settings(asked, folder))
    config = named_model(plan.config, "scripted")
    plan = msgspec.structs.replace(plan, config=config)
    spec = WorkerSpec(config.as_dict(), None, environment_source(config.environment))
    with ExitStack() as held:
        if asked.workers:
            held.enter_context(connected(config))
        inner: Backend = RayBackend(spec, config) if asked.workers else LocalBackend(spec)
        measured = MeasuredBackend(inner, asked, folder / "lag")
        directory = held.enter_context(open_run(plan.path, config))
        identity = held.enter_context(closing(RunIdentity(plan, directory)))
        directory.take_stock(Wanted(lambda key: True, plan.tasks.ids()))
        tasks = []
        memory = Memory(directory, measured, asked.sample_every or asked.rollouts)
        tasks.append(asyncio.create_task(memory.watch()))
        held_back = asyncio.create_task(_read_held(measured, asked.hold))
        async with Lag() as lag:
            clearing = asyncio.create_task(_clear(lag, measured))
            ending = await drive(
                plan,
                directory,
                identity,
                measured,
                Console(quiet=True),
                None,
                StatusFile(plan.path),
            )
        for task in (*tasks, clearing, held_back):
            task.cancel()
        if ending.problem is not None:
            raise RuntimeError(ending.problem)
        measured.finish()
    if measured.profiler is not None and asked.profile is not None:
        measured.profiler.dump_stats(asked.profile)
    told = measured.told | lag.told() | {"samples": memory.samples}
    if asked.hold is not None:
        told["held_rss"] = held_back.result()
    if asked.workers:
        told["driver_lag_max_ms"] = told["lag_max_ms"]
        told |= _worker_lag(folder / "lag")
    return told | examine(plan.path, asked)


async def _clear(lag: Lag, measured: MeasuredBackend) -> None:
    """Forget the warm-up's lag."""
    await measured.ready.wait()
    del lag.late[:]


async def _read_held(measured: MeasuredBackend, seconds: float | None) -> int:
    await measured.ready.wait()
    await asyncio.sleep(seconds or 0.0)
    return rss()


def _worker_lag(folder: Path) -> dict[str, float]:
    lag = Lag()
    for file in folder.glob("*.json"):
        lag.late.extend(json.loads(file.read_text()))
    return lag.told()


class _Line(msgspec.Struct):
    """As much of a stored rollout as proves what was done."""

    task_id: str
    reward: float | None
    turns: list[_Turn]
    sequences: list[_Sequence]


class _Turn(msgspec.Struct):
    token_ids: list[int]
    logprobs: list[float]
    tool_results: list[msgspec.Raw] = []


class _Sequence(msgspec.Struct):
    loss_mask: list[int]


def examine(path: Path, asked: Asked) -> dict[str, Any]:
    """What the run's files hold. Only every rollout with a reward of 1 will do, each once."""
    decoder = msgspec.json.Decoder(_Line)
    seen: Counter[str] = Counter()
    turns = calls = tokens = size = 0
    for part in part_files(path):
        with part.open("rb") as file:
            for line in file:
                size += len(line)
                found = decoder.decode(line)
                if found.reward != 1.0:
                    raise RuntimeError(f"rollout {found.task_id} did not go as scripted")
                sampled = sum(len(turn.token_ids) for turn in found.turns)
                if len(found.sequences) != 1 or sum(found.sequences[0].loss_mask) != sampled:
                    raise RuntimeError(f"rollout {found.task_id} lacks sampled tokens in its sequence")
                seen[found.task_id] += 1
                turns += len(found.turns)
                calls += sum(len(turn.tool_results) for turn in found.turns)
                tokens += sampled
    if len(seen) != asked.rollouts or max(seen.values()) != 1:
        raise RuntimeError(
            f"{len(seen)} rollouts on disk, {asked.rollouts} asked for, {max(seen.values())} of one"
        )
    return {"answers": len(seen), "turns": turns, "calls": calls, "tokens": tokens, "bytes": size}


def main() -> None:
    asked = msgspec.convert(json.loads(sys.argv[1]), Asked)
    folder = Path(tempfile.mkdtemp(prefix="rollway-bench-"))
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            print(json.dumps(runner.run(run(asked, folder))))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
