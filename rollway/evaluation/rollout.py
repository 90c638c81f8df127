"""One rollout of an environment: open its sandbox, set up, loop, score, tear down.

The invariant: a fault of the environment's own code, or of a sandbox, ends in the record and never in a
score; ``teardown`` runs after every successful ``setup``, and a sandbox that was opened is closed, however
the rollout ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Protocol

from rollway.agent_loop import AgentLoop
from rollway.agent_loop.prompts import readied_prompt
from rollway.agent_loop.shown import InsertAs
from rollway.clock import RolloutClock
from rollway.environments.base import Environment, Task, environment_name, named_rewards
from rollway.environments.hooks import awaited, limits_of, prompt_of, tools_of
from rollway.evaluation.record_numbers import settle_numbers
from rollway.evaluation.run_tools import RunTools
from rollway.evaluation.tapes import RecordingTape, ReplayTape, Tape
from rollway.inference.protocol import Client, Sampling
from rollway.limits import Limits
from rollway.scoring import needs_sandbox, score_trajectory
from rollway.sequences import Decode
from rollway.tools import ToolPool, ToolRegistry
from rollway.tools.context import RolloutContext
from rollway.tools.sandboxes import Sandbox, SandboxError, open_sandbox
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


class SandboxSource(Protocol):
    """Where the sandboxes of rollouts come from."""

    async def open_for(self, environment: Environment, task: Task) -> Sandbox | None:
        """A fresh one, to be released by the caller; ``None`` when the task's rollouts get none.

        Raises:
            SandboxError: it does not start.
        """
        ...

    async def release(self, sandbox: Sandbox) -> None:
        """Close it.

        Raises:
            SandboxError: it does not close.
        """
        ...


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
    insert_as: InsertAs = "auto",
    tools_in_prompt: str | None = None,
    decode: Decode | None = None,
    trajectory: Trajectory | None = None,
    sandboxes: SandboxSource | None = None,
    run_tools: RunTools | None = None,
    tape: Tape | None = None,
    clock: RolloutClock | None = None,
) -> Trajectory:
    """Roll ``task`` out once and score it. Parsers, ``insert_as``, ``tools_in_prompt`` and ``decode`` are
    those of `AgentLoop`.

    A ``trajectory`` made by `new_trajectory` is filled in place, so that its owner has the partial record
    whatever happens; it also carries the seed. ``limits.timeout`` bounds the loop, and each of the
    environment's hooks by itself. Without ``sandboxes``, a sandbox that the environment asks for is started
    there and then. ``run_tools`` adds to the environment's tools, and rules over them; ``tape`` records every
    call, or answers it from a record. ``clock`` is entered what the rollout does.

    Raises:
        asyncio.CancelledError: the caller cancelled. The record says so, `teardown` has run and the sandbox
            is closed.
        UserError: there is no such parser.
    """
    limits = limits or Limits()
    record = trajectory if trajectory is not None else new_trajectory(environment, task)
    started, began = time.time(), time.monotonic()
    clock = clock if clock is not None else RolloutClock(f"{record.task_id}/{record.sample_index}")
    async with AsyncExitStack() as held:
        held.callback(settle_numbers, record)  # when all of the environment's code has run
        if isinstance(tape, ReplayTape):
            held.callback(lambda: record.metadata.update(replay=tape.metadata()))
        with _faults_into(record):
            limits = limits_of(environment, task, limits)
            record.messages = readied_prompt(prompt_of(environment, task))
            source = sandboxes or _FreshSandboxes()
            sandbox = None
            if not isinstance(tape, ReplayTape):
                sandbox = await _open_sandbox(held, environment, task, record, source)
                await _prepare(environment, task, sandbox, limits.timeout)
            with clock.doing("setup"):
                workspace = await _set_up(held, environment, task, record, limits.timeout)
            own = tools_of(environment, task, workspace)
            tools = (
                ToolRegistry(own) if run_tools is None else await run_tools.registry(held, own, record, tape)
            )
        if record.stop_reason is not None:
            record.timing = TrajectoryTiming(started=started, total=time.monotonic() - began)
            return record
        loop = AgentLoop(
            client,
            tools=tools,
            pool=pool,
            limits=limits,
            sampling=sampling,
            tool_parser=tool_parser,
            reasoning_parser=reasoning_parser,
            insert_as=insert_as,
            tools_in_prompt=tools_in_prompt,
            decode=decode,
            approval=run_tools.approval if run_tools else None,
            keep_results=run_tools.keep_results and sandbox is not None if run_tools else False,
            execute=tape.execute if tape else None,
        )
        done = _Done(environment, task, workspace)
        context = RolloutContext(record.id, task, workspace, sandbox, random.Random(record.seed))
        with clock.doing("loop"):
            await loop.run(record.messages, trajectory=record, done=done, context=context)
        with _faults_into(record):
            if done.fault is not None:
                raise done.fault
            if isinstance(tape, RecordingTape) and sandbox is not None:
                await tape.keep(sandbox)
            if isinstance(tape, ReplayTape):
                sandbox = await _recorded_sandbox(held, environment, task, record, source, tape)
            with clock.doing("rewards"):
                await _score(environment, task, record, sandbox, limits.timeout)
    return record


class _FreshSandboxes:
    """Every sandbox is started when it is asked for."""

    async def open_for(self, environment: Environment, task: Task) -> Sandbox | None:
        spec = environment.sandbox_for(task)
        return None if spec is None else await open_sandbox(spec)

    async def release(self, sandbox: Sandbox) -> None:
        await sandbox.close()


async def _open_sandbox(
    held: AsyncExitStack, environment: Environment, task: Task, record: Trajectory, source: SandboxSource
) -> Sandbox | None:
    """A sandbox for the rollout, however long it has to wait for one; ``held`` closes it at the end."""
    sandbox = await source.open_for(environment, task)
    if sandbox is not None:
        held.push_async_callback(_unhurried, _close_sandbox, source, sandbox, record)
    return sandbox


async def _prepare(
    environment: Environment, task: Task, sandbox: Sandbox | None, timeout: float | None
) -> None:
    if sandbox is not None:
        async with asyncio.timeout(timeout):
            await awaited("prepare_sandbox", environment.prepare_sandbox(task, sandbox))


async def _recorded_sandbox(
    held: AsyncExitStack,
    environment: Environment,
    task: Task,
    record: Trajectory,
    source: SandboxSource,
    tape: ReplayTape,
) -> Sandbox | None:
    """The sandbox as the recorded rollout left it, for the rewards that look into it."""
    if tape.snapshot is None or not tape.stayed_on_record:
        return None
    if not any(needs_sandbox(reward.function) for reward in named_rewards(environment)):
        return None
    sandbox = await _open_sandbox(held, environment, task, record, source)
    if sandbox is not None:
        await sandbox.restore(tape.snapshot)
    return sandbox


async def _set_up(
    held: AsyncExitStack,
    environment: Environment,
    task: Task,
    record: Trajectory,
    timeout: float | None,
) -> Any:
    """What `setup` returned; ``held`` tears it down at the end."""
    async with asyncio.timeout(timeout):
        workspace = await awaited("setup", environment.setup(task))
    held.push_async_callback(_unhurried, _tear_down, environment, task, workspace, record, timeout)
    return workspace


async def _unhurried(function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    """What must be done to its end, although the rollout is cancelled meanwhile."""
    await asyncio.shield(function(*args))


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


async def _score(
    environment: Environment, task: Task, record: Trajectory, sandbox: Sandbox | None, timeout: float | None
) -> None:
    if record.stop_reason in FAILURES:
        return
    scoring = asyncio.timeout(timeout)
    try:
        async with scoring:
            await score_trajectory(environment, task, record, sandbox)
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
            await awaited("teardown", environment.teardown(task, workspace, record))
    except _FAULTS as error:
        record.metadata["teardown_error"] = f"{type(error).__name__}: {error}"
        _log.warning("teardown of task %r raised %s", record.task_id, _traceback(error))


async def _close_sandbox(source: SandboxSource, sandbox: Sandbox, record: Trajectory) -> None:
    """A sandbox that does not close takes nothing away from a rollout that has ended: it is noted."""
    try:
        await source.release(sandbox)
    except _FAULTS as error:
        record.metadata["sandbox_error"] = f"{type(error).__name__}: {error}"
        _log.warning("closing the sandbox of task %r raised %s", record.task_id, _traceback(error))


@contextmanager
def _faults_into(record: Trajectory) -> Iterator[None]:
    """What the environment's code raises becomes the record's error."""
    try:
        yield
    except SandboxError as error:
        record_fault(record, error, where="sandbox")
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
