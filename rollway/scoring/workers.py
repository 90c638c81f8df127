"""Scoring stored lines, in this process or on Ray, in the order in which they are stored.

The invariant: every line that goes in comes out as exactly one row, whatever the reward functions do; one
that kills its worker costs that line its score and no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from rollway.environments.base import Reward, Task
from rollway.errors import UserError
from rollway.scoring.records import ScoreRow
from rollway.scoring.rewards import score_with
from rollway.scoring.sources import RewardSource, load_rewards
from rollway.scoring.stored import StoredLine
from rollway.trajectory import FAILURES, ErrorRecord, Trajectory, decode_trajectory

IN_FLIGHT = 64
"""Lines that async reward functions work on at a time, in one process."""

START_SECONDS = 120.0
"""How long the first worker may take to start."""


class Job(msgspec.Struct, frozen=True):
    """One line to be scored."""

    stored: StoredLine
    task: Task | None  # None when no reward function looks at it
    task_known: bool = True  # False: the environment has no such task any more


class Scored(msgspec.Struct, frozen=True):
    """The row that came of a line, and the reward that stood in it."""

    row: ScoreRow
    recorded: float | None


def score_here(rewards: Sequence[Reward], chunks: Iterable[Sequence[Job]]) -> Iterator[list[Scored]]:
    """Score chunk by chunk in this process, on one event loop."""
    with asyncio.Runner() as runner:
        for jobs in chunks:
            yield runner.run(_score_all(rewards, jobs))


class ChunkScorer:
    """What runs in a Ray actor: reward functions, loaded once, and the event loop of all their calls."""

    def __init__(self, source: RewardSource) -> None:
        self._rewards = load_rewards(source)
        self._runner = asyncio.Runner()

    def score(self, jobs: Sequence[Job]) -> list[Scored]:
        return self._runner.run(_score_all(self._rewards, jobs))


async def _score_all(rewards: Sequence[Reward], jobs: Sequence[Job]) -> list[Scored]:
    free = asyncio.Semaphore(IN_FLIGHT)

    async def one(job: Job) -> Scored:
        async with free:
            return await score_line(rewards, job)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(job)) for job in jobs]
    return [task.result() for task in tasks]


async def score_line(rewards: Sequence[Reward], job: Job) -> Scored:
    """Score one stored line. Whatever keeps it from a reward stands in the row."""
    try:
        trajectory = decode_trajectory(job.stored.line)
    except msgspec.DecodeError as error:
        return Scored(_row(job, "", error=ErrorRecord(type(error).__name__, str(error), "record")), None)
    recorded = None if trajectory.stop_reason in FAILURES else trajectory.reward
    refusal = _refusal(job, trajectory)
    if refusal is not None:
        return Scored(_row(job, trajectory.id, error=refusal), recorded)
    await score_with(rewards, job.task or {}, trajectory)
    reason = trajectory.error if trajectory.reward is None else None
    row = _row(job, trajectory.id, rewards=trajectory.rewards, reward=trajectory.reward, error=reason)
    return Scored(row, recorded)


def _refusal(job: Job, trajectory: Trajectory) -> ErrorRecord | None:
    """Why a rollout is not handed to the reward functions."""
    if trajectory.stop_reason in FAILURES:
        told = f"the rollout ended with {trajectory.stop_reason}"
        if trajectory.error:
            told += f": {trajectory.error.kind}: {trajectory.error.message}"
        return ErrorRecord(kind=str(trajectory.stop_reason), message=told, where="rollout")
    if not job.task_known:
        told = f"the environment has no task {job.stored.task_id!r} now"
        return ErrorRecord(kind="unknown_task", message=told, where="environment")
    return None


def _row(job: Job, trajectory_id: str, **fields: Any) -> ScoreRow:
    return ScoreRow(job.stored.task_id, job.stored.sample_index, trajectory_id, **fields)


def score_on_ray(
    source: RewardSource, chunks: Iterable[Sequence[Job]], *, workers: int, address: str | None = None
) -> Iterator[list[Scored]]:
    """Score chunks on so many Ray actors, and give them back in their order.

    ``address`` is that of a cluster; without one a Ray of our own runs for the time of the scoring, unless
    this process is connected to one already.

    Raises:
        UserError: no worker starts, or the reward functions cannot be loaded there.
    """
    with _ray(workers, address) as ray:
        fleet = _Fleet(ray, source, workers)
        flights: deque[tuple[int, Any, Sequence[Job], Any]] = deque()
        try:
            for number, jobs in enumerate(chunks):
                place = number % workers
                actor = fleet.actors[place]
                flights.append((place, actor, jobs, actor.score.remote(jobs)))
                if len(flights) >= 2 * workers:
                    yield fleet.land(*flights.popleft())
            while flights:
                yield fleet.land(*flights.popleft())
        finally:
            fleet.close()


class _Fleet:
    """The actors, and a new one in the place of each that dies."""

    def __init__(self, ray: Any, source: RewardSource, workers: int) -> None:
        self._ray = ray
        self._source = source
        self._class = ray.remote(num_cpus=1, max_restarts=0)(ChunkScorer)
        self._deaths = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError)
        self.actors = [self._class.remote(source) for _ in range(workers)]
        self._wait_for(self.actors[0])

    def _wait_for(self, actor: Any) -> None:
        try:
            self._ray.get(actor.score.remote([]), timeout=START_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            raise UserError(
                f"no Ray worker started within {START_SECONDS:.0f} s: is a CPU free in the cluster?"
            ) from None
        except self._ray.exceptions.RayError as error:
            raise UserError(f"a Ray worker cannot start: {str(error).strip().splitlines()[-1]}") from error

    def land(self, place: int, actor: Any, jobs: Sequence[Job], reference: Any) -> list[Scored]:
        """The rows of a chunk. If its worker died, its lines are scored one by one to find which did it."""
        try:
            scored: list[Scored] = self._ray.get(reference)
            return scored
        except self._deaths:
            if self.actors[place] is actor:
                self.actors[place] = self._class.remote(self._source)
        return self._one_by_one(jobs)

    def _one_by_one(self, jobs: Sequence[Job]) -> list[Scored]:
        rows: list[Scored] = []
        alone = self._class.remote(self._source)
        for job in jobs:
            try:
                rows += self._ray.get(alone.score.remote([job]))
            except self._deaths:
                told = "the process that called the reward functions died of it"
                rows.append(Scored(_row(job, "", error=ErrorRecord("WorkerDied", told, "reward:")), None))
                alone = self._class.remote(self._source)
        self._ray.kill(alone)
        return rows

    def close(self) -> None:
        for actor in self.actors:
            self._ray.kill(actor)


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[Any]:
    """Ray, connected. What was connected before stays so."""
    import ray

    ours = not ray.is_initialized()
    if ours:
        local = {"num_cpus": workers + 1, "include_dashboard": False} if address is None else {}
        try:
            ray.init(address=address, logging_level="ERROR", log_to_driver=False, **local)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"cannot connect to Ray at {address!r}: {error}") from None
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()
