"""Scoring stored lines: each that goes in comes out as exactly one row, in its order, whatever the reward
functions do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from rollway.environments.base import Reward, Task
from rollway.errors import UserError
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


def score_here(rewards: Sequence[Reward], chunks: Iterable[Sequence[Job]]) -> Iterator[list[Scored]]:
    """Score chunk by chunk in this process, on one event loop."""
    with asyncio.Runner() as runner:
        for jobs in chunks:
            yield runner.run(score_chunk(rewards, jobs))


async def score_chunk(rewards: Sequence[Reward], jobs: Sequence[Job]) -> list[Scored]:
    """Score lines side by side."""
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
        return Scored(row_of(job, "", error=ErrorRecord(type(error).__name__, str(error), "record")), None)
    recorded = None if trajectory.stop_reason in FAILURES else trajectory.reward
    refusal = _refusal(job, trajectory)
    if refusal is not None:
        return Scored(row_of(job, trajectory.id, error=refusal), recorded)
    try:
        async with opened(job.left) as sandbox:
            await score_with(rewards, job.task or {}, trajectory, sandbox)
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
