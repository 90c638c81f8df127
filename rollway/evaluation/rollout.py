"""One rollout of an environment: set up, loop, score, tear down.

The invariant: a fault of the environment's own code ends in the record, with its traceback, and never in
a score; ``teardown`` runs after every successful ``setup``, however the rollout ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rollway.agent_loop import AgentLoop
from rollway.environments.base import Environment, Task, environment_name
from rollway.inference.protocol import Client, Sampling
from rollway.limits import Limits
from rollway.scoring import score_trajectory
from rollway.sequences import Decode
from rollway.tools import ToolPool, ToolRegistry
from rollway.trajectory import FAILURES, ErrorRecord, StopReason, Trajectory, TrajectoryTiming

MOST_TRACEBACK = 8_000
"""Characters of a traceback that are kept, from its end."""

_FAULTS = (Exception, SystemExit)
_log = logging.getLogger(__name__)


def new_trajectory(
    environment: Environment,
    task: Task,
    *,
    sample_index: int = 0,
    seed: int | None = None,
    group_id: str | None = None,
    model: str = "",
) -> Trajectory:
    """The empty record of a rollout that is about to begin."""
    return Trajectory(
        id=uuid.uuid4().hex,
        messages=[],
        environment=environment_name(environment),
        task_id=str(task["task_id"]),
        sample_index=sample_index,
        seed=seed,
        group_id=group_id,
        model=model,
    )


async def run_rollout(
    environment: Environment,
    task: Task,
    *,
    client: Client,
    pool: ToolPool,
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    tool_parser: str | None = "hermes",
    reasoning_parser: str | None = None,
    decode: Decode | None = None,
    trajectory: Trajectory | None = None,
) -> Trajectory:
    """Roll ``task`` out once and score it. Parsers and ``decode`` are those of `AgentLoop`.

    A ``trajectory`` made by `new_trajectory` is filled in place, so that its owner has the partial record
    whatever happens; it also carries the seed. ``limits.timeout`` bounds the loop, and each of the
    environment's hooks by itself.

    Raises:
        asyncio.CancelledError: the caller cancelled. The record says so, and `teardown` has run.
        UserError: there is no such parser.
    """
    limits = limits or Limits()
    record = trajectory if trajectory is not None else new_trajectory(environment, task)
    started, clock = time.time(), time.monotonic()
    workspace: Any = None
    with _faults_into(record):
        record.messages = [dict(message) for message in environment.prompt(task)]
        async with asyncio.timeout(limits.timeout):
            workspace = await environment.setup(task)
    if record.stop_reason is not None:
        record.timing = TrajectoryTiming(started=started, total=time.monotonic() - clock)
        return record
    try:
        with _faults_into(record):
            tools = ToolRegistry(environment.tools_for(task, workspace))
        if record.stop_reason is not None:
            return record
        loop = AgentLoop(
            client,
            tools=tools,
            pool=pool,
            limits=limits,
            sampling=sampling,
            tool_parser=tool_parser,
            reasoning_parser=reasoning_parser,
            decode=decode,
        )
        done = _Done(environment, task, workspace)
        await loop.run(record.messages, trajectory=record, done=done)
        with _faults_into(record):
            if done.fault is not None:
                raise done.fault
            await _score(environment, task, record, limits.timeout)
        return record
    finally:
        await asyncio.shield(_tear_down(environment, task, workspace, record, limits.timeout))


class _Done:
    """The environment's `done`, asked by the loop. One that raises ends the rollout, and is kept."""

    def __init__(self, environment: Environment, task: Task, workspace: Any) -> None:
        self.environment, self.task, self.workspace = environment, task, workspace
        self.fault: BaseException | None = None

    def __call__(self, trajectory: Trajectory) -> bool:
        try:
            return self.environment.done(self.task, self.workspace, trajectory)
        except _FAULTS as error:
            self.fault = error
            return True


async def _score(environment: Environment, task: Task, record: Trajectory, timeout: float | None) -> None:
    if record.stop_reason in FAILURES:
        return
    scoring = asyncio.timeout(timeout)
    try:
        async with scoring:
            await score_trajectory(environment, task, record)
    except TimeoutError:
        if not scoring.expired():
            raise
        record.error = ErrorRecord(
            kind="TimeoutError", message=f"not scored within {timeout} s", where="reward:timeout"
        )


async def _tear_down(
    environment: Environment, task: Task, workspace: Any, record: Trajectory, timeout: float | None
) -> None:
    """A fault here takes nothing away from a rollout that has ended: it is noted and logged."""
    try:
        async with asyncio.timeout(timeout):
            await environment.teardown(task, workspace, record)
    except _FAULTS as error:
        record.metadata["teardown_error"] = f"{type(error).__name__}: {error}"
        _log.warning("teardown of task %r raised %s", record.task_id, _traceback(error))


@contextmanager
def _faults_into(record: Trajectory) -> Iterator[None]:
    """What the environment's code raises becomes the record's error."""
    try:
        yield
    except _FAULTS as error:
        record_fault(record, error, where="environment")
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            record.stop_reason = StopReason.CANCELLED
            raise
        record_fault(record, error, where="environment")  # a cancelled task of the environment's own


def record_fault(record: Trajectory, error: BaseException, *, where: str) -> None:
    """End a rollout that something else than the model broke. It is not scored."""
    record.stop_reason = StopReason.ENVIRONMENT_ERROR
    record.rewards, record.reward = {}, None
    record.error = ErrorRecord(
        kind=type(error).__name__, message=str(error), where=where, traceback=_traceback(error)
    )


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-MOST_TRACEBACK:]
