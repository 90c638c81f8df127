"""Scoring stored lines: each that goes in comes out as exactly one row, in its order, whatever the reward
functions do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from rollway.clock import RolloutClock
from rollway.environments.base import Reward, Task
from rollway.environments.calling import Hooks, hook_threads
from rollway.environments.own_tasks import own_copy
from rollway.errors import UserError
from rollway.event_loop import new_event_loop
from rollway.scoring.left_sandboxes import LeftSandbox, opened
from rollway.scoring.records import ScoreRow
from rollway.scoring.rewards import score_with
from rollway.scoring.stored import StoredLine
from rollway.tools.sandboxes import SandboxError
from rollway.trajectory import FAILURES, ErrorRecord, Trajectory, decode_trajectory

IN_FLIGHT = 64
"""Lines that async reward functions work on at a time, in one process."""


class Job(msgspec.Struct, frozen=True):
    """One line to be scored."""

    stored: StoredLine
    task: Task | None  # None when no reward function looks at it
    task_known: bool = True  # False: the environment has no such task any more
    left: LeftSandbox | None = (
        None  # the sandbox that the rollout left, where a reward function looks into it
    )


class Scored(msgspec.Struct, frozen=True):
    """The row that came of a line, and the reward that stood in it."""

    row: ScoreRow
    recorded: float | None


class Scorer:
    """Scores lines with the same functions. Sync ones run in threads of its own, until it is closed."""

    def __init__(self, rewards: Sequence[Reward], timeout: float) -> None:
        self.rewards = rewards
        self.timeout = timeout  # seconds of each call of a function
        self.pool = hook_threads(IN_FLIGHT)

    async def score_chunk(self, jobs: Sequence[Job], done: dict[int, Scored] | None = None) -> list[Scored]:
        """Score lines side by side. ``done`` is filled as they end, by their place."""
        done = {} if done is None else done
        free = asyncio.Semaphore(IN_FLIGHT)

        async def one(place: int, job: Job) -> None:
            async with free:
                done[place] = await score_line(self, job)

        async with asyncio.TaskGroup() as group:
            for place, job in enumerate(jobs):
                group.create_task(one(place, job))
        return in_order(done)

    def close(self) -> None:
        self.pool.close()


def in_order(done: Mapping[int, Scored]) -> list[Scored]:
    """What is there, in the order of the lines."""
    return [done[place] for place in sorted(done)]


def score_here(scorer: Scorer, chunks: Iterable[Sequence[Job]]) -> Iterator[list[Scored]]:
    """Score chunk by chunk in this process, on one event loop.

    Raises:
        KeyboardInterrupt: Ctrl-C. What had been scored of the chunk has been given before.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        try:
            for jobs in chunks:
                done: dict[int, Scored] = {}
                try:
                    yield runner.run(scorer.score_chunk(jobs, done))
                except KeyboardInterrupt:
                    yield in_order(done)
                    raise
        finally:
            scorer.close()


async def score_line(scorer: Scorer, job: Job) -> Scored:
    """Score one stored line. Whatever keeps it from a reward stands in the row."""
    try:
        trajectory = decode_trajectory(job.stored.line)
    except msgspec.DecodeError as error:
        return Scored(row_of(job, "", error=ErrorRecord(type(error).__name__, str(error), "record")), None)
    recorded = None if trajectory.stop_reason in FAILURES else trajectory.reward
    refusal = _refusal(job, trajectory)
    if refusal is not None:
        return Scored(row_of(job, trajectory.id, error=refusal), recorded)
    try:
        async with opened(job.left) as sandbox:
            clock = RolloutClock(f"{job.stored.task_id}/{job.stored.sample_index}")
            hooks = Hooks(scorer.pool, timeout=scorer.timeout, clock=clock)
            await score_with(scorer.rewards, own_copy(job.task or {}), trajectory, sandbox, hooks=hooks)
    except (SandboxError, UserError) as error:
        refusal = ErrorRecord(type(error).__name__, str(error), "sandbox")
        return Scored(row_of(job, trajectory.id, error=refusal), recorded)
    reason = trajectory.error if trajectory.reward is None else None
    row = row_of(job, trajectory.id, rewards=trajectory.rewards, reward=trajectory.reward, error=reason)
    return Scored(row, recorded)


def _refusal(job: Job, trajectory: Trajectory) -> ErrorRecord | None:
    """Why a rollout is not handed to the reward functions."""
    if trajectory.stop_reason in FAILURES:
        told = f"the rollout ended with {trajectory.stop_reason}"
        if trajectory.error:
            told += f": {trajectory.error.kind}: {trajectory.error.message}"
        return ErrorRecord(kind=str(trajectory.stop_reason), message=told, where="rollout")
    if not job.task_known:
        told = f"the environment no longer has task {job.stored.task_id!r}"
        return ErrorRecord(kind="unknown_task", message=told, where="environment")
    return None


def row_of(job: Job, trajectory_id: str, **fields: Any) -> ScoreRow:
    """The row of a line, with what is given of rewards, reward and error."""
    return ScoreRow(job.stored.task_id, job.stored.sample_index, trajectory_id, **fields)
