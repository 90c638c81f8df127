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
from rollway.agent_loop.deadlines import noted_waits
from rollway.agent_loop.prompts import readied_prompt
from rollway.agent_loop.shown import InsertAs
from rollway.clock import RolloutClock, WaitKind
from rollway.environments.base import Environment, Task, environment_name, named_rewards
from rollway.environments.calling import Call, Hooks
from rollway.environments.hooks import is_own, limits_of, prompt_of, tools_of
from rollway.environments.own_tasks import own_copy
from rollway.evaluation.record_numbers import settle_numbers
from rollway.evaluation.run_tools import RunTools
from rollway.evaluation.tapes import RecordingTape, ReplayTape, Tape
from rollway.inference.exchanges import ExchangeLog
from rollway.inference.protocol import Client, Sampling
from rollway.limits import Limits
from rollway.scoring import needs_sandbox, score_trajectory
from rollway.scoring.left_sandboxes import LeftSandbox, opened
from rollway.sequences import Decode
from rollway.tools import ToolPool, ToolRegistry
from rollway.tools.context import RolloutContext
from rollway.tools.sandboxes import Sandbox, SandboxError, open_sandbox
from rollway.trajectory import ErrorRecord, Message, StopReason, Trajectory, TrajectoryTiming

MOST_TRACEBACK = 8_000
"""Characters of a traceback that are kept, from its end."""

CLOSE_SECONDS = 60.0
"""How long a sandbox may take to close that was started for one rollout."""

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
    hook_pool: ToolPool | None = None,
    clock: RolloutClock | None = None,
    exchanges: ExchangeLog | None = None,
) -> Trajectory:
    """Roll ``task`` out once and score it. Parsers, ``insert_as``, ``tools_in_prompt`` and ``decode`` are
    those of `AgentLoop`.

    A ``trajectory`` made by `new_trajectory` is filled in place, so that its owner has the partial record
    whatever happens; it also carries the seed. ``limits.timeout`` bounds the loop, and
    ``limits.hook_seconds`` each of the environment's hooks and rewards by itself: sync ones run in threads of
    ``hook_pool`` (else of ``pool``), and get a copy of the task that is this rollout's own. Without
    ``sandboxes``, a sandbox that the environment asks for is started there and then. ``run_tools`` adds to
    the environment's tools, and rules over them; ``tape`` records every call, or answers it from a record.
    ``clock`` is entered what the rollout does and waits for.

    Raises:
        asyncio.CancelledError: the caller cancelled. The record says so, `teardown` has run and the sandbox
            is closed.
        UserError: there is no such parser.
    """
    limits = limits or Limits()
    record = trajectory if trajectory is not None else new_trajectory(environment, task)
    clock = clock if clock is not None else RolloutClock(f"{record.task_id}/{record.sample_index}")
    hooks = Hooks(hook_pool or pool, timeout=limits.hook_seconds, clock=clock)
    started, began = time.time(), time.monotonic()
    async with AsyncExitStack() as held:
        held.callback(settle_numbers, record)  # when all of the environment's code has run
        if isinstance(tape, ReplayTape):
            held.callback(lambda: record.metadata.update(replay=tape.metadata()))
        with _faults_into(record):
            task = own_copy(task)
            limits, record.messages = await _opened(hooks, environment, task, limits)
            hooks.timeout = limits.hook_seconds
            source = sandboxes or _FreshSandboxes(hooks)
            sandbox = None
            if not isinstance(tape, ReplayTape):
                with clock.doing("sandbox"), clock.waiting(WaitKind.SANDBOX):
                    sandbox = await _open_sandbox(held, environment, task, record, source)
                if sandbox is not None and is_own(environment, "prepare_sandbox"):
                    await hooks.call("prepare_sandbox", environment.prepare_sandbox, task, sandbox)
            workspace = await _set_up(held, hooks, environment, task, record)
            own = (
                await hooks.call("tools_for", tools_of, environment, task, workspace)
                if is_own(environment, "tools_for")
                else tools_of(environment, task, workspace)
            )
            tools = (
                ToolRegistry(own) if run_tools is None else await run_tools.registry(held, own, record, tape)
            )
        if record.stop_reason is not None:
            record.timing = TrajectoryTiming(started=started, total=time.monotonic() - began)
            record.waits = noted_waits(clock, {})
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
        done = _Done(hooks, environment, task, workspace) if is_own(environment, "done") else None
        context = RolloutContext(record.id, task, workspace, sandbox, random.Random(record.seed))
        await loop.run(
            record.messages, trajectory=record, done=done, context=context, clock=clock, exchanges=exchanges
        )
        with _faults_into(record):
            if done is not None and done.fault is not None:
                raise done.fault
            if isinstance(tape, RecordingTape) and sandbox is not None:
                await tape.keep(sandbox)
            if isinstance(tape, ReplayTape):
                sandbox = await _recorded_sandbox(held, environment, task, record, source, tape)
            await score_trajectory(environment, task, record, sandbox, hooks=hooks)
    return record


async def score_again(
    environment: Environment,
    task: Task,
    record: Trajectory,
    *,
    pool: ToolPool,
    left: LeftSandbox | None = None,
    limits: Limits | None = None,
    clock: RolloutClock | None = None,
) -> Trajectory:
    """Score a stored rollout that lacks only a score, with the sandbox that it left. Sync rewards run in
    threads of ``pool``.

    Raises:
        asyncio.CancelledError: the caller cancelled.
    """
    async with AsyncExitStack() as held:
        held.callback(settle_numbers, record)
        with _faults_into(record):
            hooks = Hooks(pool, timeout=(limits or Limits()).hook_seconds, clock=clock)
            if is_own(environment, "limits_for"):
                own = await hooks.call("limits_for", limits_of, environment, task, limits or Limits())
                hooks.timeout = own.hook_seconds
            sandbox = await held.enter_async_context(opened(left))
            await score_trajectory(environment, own_copy(task), record, sandbox, hooks=hooks)
    return record


async def _opened(
    hooks: Hooks, environment: Environment, task: Task, limits: Limits
) -> tuple[Limits, list[Message]]:
    """The rollout's own limits, and the messages that it begins with."""
    calls = [Call("prompt", lambda: readied_prompt(prompt_of(environment, task)))]
    if is_own(environment, "limits_for"):
        calls.insert(0, Call("limits_for", limits_of, (environment, task, limits)))
        own, messages = await hooks.call_in_turn(calls)
        return own, messages
    (messages,) = await hooks.call_in_turn(calls)
    return limits, messages


class _FreshSandboxes:
    """Every sandbox is started when it is asked for."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    async def open_for(self, environment: Environment, task: Task) -> Sandbox | None:
        if is_own(environment, "sandbox_for"):
            spec = await self._hooks.call("sandbox_for", environment.sandbox_for, task)
        else:
            spec = environment.sandbox_for(task)
        return None if spec is None else await open_sandbox(spec)

    async def release(self, sandbox: Sandbox) -> None:
        async with asyncio.timeout(CLOSE_SECONDS):
            await sandbox.close()


async def _open_sandbox(
    held: AsyncExitStack, environment: Environment, task: Task, record: Trajectory, source: SandboxSource
) -> Sandbox | None:
    """A sandbox for the rollout, however long it has to wait for one; ``held`` closes it at the end."""
    sandbox = await source.open_for(environment, task)
    if sandbox is not None:
        held.push_async_callback(_unhurried, _close_sandbox, source, sandbox, record)
    return sandbox


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
    held: AsyncExitStack, hooks: Hooks, environment: Environment, task: Task, record: Trajectory
) -> Any:
    """What `setup` returned; ``held`` tears it down at the end."""
    workspace = await hooks.call("setup", environment.setup, task) if is_own(environment, "setup") else None
    if is_own(environment, "teardown"):
        held.push_async_callback(_unhurried, _tear_down, hooks, environment, task, workspace, record)
    return workspace


async def _unhurried(function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    """What must be done to its end, although the rollout is cancelled meanwhile."""
    await asyncio.shield(function(*args))


class _Done:
    """The environment's `done`, asked by the loop. One that raises ends the rollout, and is kept."""

    def __init__(self, hooks: Hooks, environment: Environment, task: Task, workspace: Any) -> None:
        self.hooks, self.environment, self.task, self.workspace = hooks, environment, task, workspace
        self.fault: BaseException | None = None

    async def __call__(self, trajectory: Trajectory) -> bool:
        try:
            return bool(
                await self.hooks.call("done", self.environment.done, self.task, self.workspace, trajectory)
            )
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is None or not current.cancelling():  # a cancelled task of the environment's own
                self.fault = error
                return True
            # The rollout's wall clock, most likely: that it ran out here is the environment's doing.
            self.fault = TimeoutError("the rollout's time ran out while done was asked")
            raise
        except _FAULTS as error:
            self.fault = error
            return True


async def _tear_down(
    hooks: Hooks, environment: Environment, task: Task, workspace: Any, record: Trajectory
) -> None:
    """A fault here takes nothing away from a rollout that has ended: it is noted and logged."""
    try:
        await hooks.call("teardown", environment.teardown, task, workspace, record)
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
