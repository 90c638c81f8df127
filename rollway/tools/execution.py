"""From a call that a model wrote to the message that it gets back.

Every call is run at most once and answered exactly once, whatever the model, the tool or the clock did, and
every failure is also a `ToolError`. Only cancelling raises out of here.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import msgspec

from rollway.clock import Lane, RolloutClock, WaitKind
from rollway.tools.approval import ApprovalPolicy
from rollway.tools.context import RolloutContext
from rollway.tools.definition import Tool
from rollway.tools.faults import Fault, judge, unknown_tool
from rollway.tools.machine_faults import MachineFault, machine_fault
from rollway.tools.pool import ToolPool, is_async
from rollway.tools.pool_records import CallResult, PoolClosed
from rollway.tools.readying import Readied, Readier
from rollway.tools.registry import ToolRegistry
from rollway.tools.results import ToolAnswer, cut_middle, printable, read_output
from rollway.trajectory import ToolCall, ToolError, ToolErrorKind, ToolResult

MAX_RESULT_CHARS = 50_000  # of one result, unless the caller says otherwise
MAX_ERROR_CHARS = 2_000  # of `ToolError.error`; what the model was told stands beside it


class ExecutedCall(msgspec.Struct, frozen=True):
    """One call, answered."""

    result: ToolResult
    error: ToolError | None = None  # None when the tool did what was asked
    stop: bool = False  # the tool asked for the rollout to end
    whole: str | None = None  # the result before it was cut; None when it was not
    machine_fault: MachineFault | None = None  # set: the result says nothing about the policy


class CallExecutor(Protocol):
    """What stands around every call of a loop, to record it or to answer it from a record."""

    async def __call__(
        self,
        call: ToolCall,
        *,
        turn: int,  # 1-based
        context: RolloutContext,
        run: Callable[[], Awaitable[ExecutedCall]],  # the call as it is run otherwise
    ) -> ExecutedCall: ...


async def execute_calls(
    calls: Sequence[ToolCall],
    *,
    registry: ToolRegistry,
    pool: ToolPool,
    turn: int,
    timeout: float | None = None,
    max_result_chars: int | None = MAX_RESULT_CHARS,
    context: RolloutContext | None = None,
    approval: ApprovalPolicy | None = None,
) -> list[ExecutedCall]:
    """Run the calls of one turn at the same time. The results are in the order of the calls.

    Arguments and errors are those of `execute_call`. Without a ``context``, all share a new one.
    """
    execute = functools.partial(
        execute_call,
        registry=registry,
        pool=pool,
        turn=turn,
        timeout=timeout,
        max_result_chars=max_result_chars,
        context=RolloutContext() if context is None else context,
        approval=approval,
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(execute(call)) for call in calls]
    return [task.result() for task in tasks]


async def execute_call(
    call: ToolCall,
    *,
    registry: ToolRegistry,
    pool: ToolPool,
    turn: int,
    timeout: float | None = None,
    max_result_chars: int | None = MAX_RESULT_CHARS,
    context: RolloutContext | None = None,
    approval: ApprovalPolicy | None = None,
    clock: RolloutClock | Lane | None = None,
) -> ExecutedCall:
    """Run one call.

    Args:
        call: as the model wrote it; its id is kept as it is.
        turn: 1-based, for the `ToolError`.
        timeout: seconds that the tool may run, without its time in the queue; ``None`` is no bound.
        max_result_chars: longer results are cut in the middle, and ``truncated_from`` says so; ``None`` is
            no bound.
        context: what tools that ask for the rollout's own things get; ``None`` is a new one.
        approval: asked before the call runs; ``None``: it needs none.
        clock: on which it is entered how long the call waited for its approval and the pool: the rollout's,
            or the call's own lane of it, where others run beside it.

    Raises:
        asyncio.CancelledError: the caller was cancelled. Nothing is left on the event loop; the thread of a
            sync tool that runs is written off.
    """
    came = CallResult()
    tool = registry.get(call.name)
    if tool is None:
        readied = Readied(fault=unknown_tool(call.name, registry))
    else:
        readier = Readier(registry, pool, turn, context)
        readied = readier.check(tool, call)
        if approval is not None and readied.fault is None:
            with nullcontext() if clock is None else clock.waiting(WaitKind.APPROVAL):
                readied = await readier.approve(approval, tool, call, readied)
    outcome: ToolAnswer | Fault | None = readied.fault
    if outcome is None:
        assert tool is not None
        args, kwargs = readied.call()
        came = await _run(tool, args, kwargs, pool, timeout, clock)
        outcome = judge(tool.name, came, timeout)
    answered = _answered(call, turn, outcome, came, readied, max_result_chars)
    if came.error is not None:
        fault = machine_fault(came.error, None if context is None else context.sandbox)
        return answered if fault is None else msgspec.structs.replace(answered, machine_fault=fault)
    return answered


def answer_without_running(
    call: ToolCall, *, turn: int, kind: ToolErrorKind, error: str, told: str
) -> ExecutedCall:
    """The answer to a call that may not run, or whose result nobody waited for.

    Args:
        turn: 1-based.
        error: what happened, for people.
        told: the message for the model.
    """
    result = ToolResult(call_id=call.id, name=call.name, content=told, ok=False)
    return ExecutedCall(result, _error(call, turn, kind, error, told))


async def _run(
    tool: Tool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    pool: ToolPool,
    timeout: float | None,
    clock: RolloutClock | Lane | None,
) -> CallResult:
    try:
        if tool.process:
            return await pool.call_in_process(tool.function, args, kwargs, timeout=timeout, clock=clock)
        run = _run_async if is_async(tool.function) else _run_sync
        return await pool.call_bound(
            functools.partial(run, tool.function, args, kwargs), timeout=timeout, clock=clock
        )
    except PoolClosed as error:
        return CallResult(error=error)


def _run_sync(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """On a worker's thread, so that large results are written as JSON there and not on the event loop."""
    value = function(*args, **kwargs)
    return _read_awaited(value) if inspect.iscoroutine(value) else read_output(value)


async def _run_async(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ToolAnswer:
    return read_output(await function(*args, **kwargs))


async def _read_awaited(value: Coroutine[Any, Any, Any]) -> ToolAnswer:
    return read_output(await value)


def _answered(
    call: ToolCall,
    turn: int,
    outcome: ToolAnswer | Fault,
    came: CallResult,
    readied: Readied,
    limit: int | None,
) -> ExecutedCall:
    whole = printable(outcome.told if isinstance(outcome, Fault) else outcome.content)
    cut = limit is not None and len(whole) > limit
    told = cut_middle(whole, limit) if cut and limit is not None else whole
    error = None
    if isinstance(outcome, Fault):
        place = f" ({outcome.place})" if outcome.place else ""
        what = cut_middle(outcome.why or whole.removeprefix("Error: "), MAX_ERROR_CHARS) + place
        error = _error(call, turn, outcome.kind, what, told)
    elif not outcome.ok:
        what = cut_middle(whole, MAX_ERROR_CHARS)
        error = _error(call, turn, ToolErrorKind.TOOL_REPORTED, what, told)
    result = ToolResult(
        call_id=call.id,
        name=call.name,
        content=told,
        ok=error is None,
        duration=came.duration,
        queued=came.queued,
        truncated_from=len(whole) if cut else None,
        approval=readied.approval,
        edited_arguments=readied.edited,
    )
    stop = isinstance(outcome, ToolAnswer) and outcome.stop
    return ExecutedCall(result, error, stop, whole if cut else None)


def _error(call: ToolCall, turn: int, kind: ToolErrorKind, error: str, told: str) -> ToolError:
    return ToolError(
        turn=turn,
        tool_name=call.name,
        arguments=call.arguments,
        kind=kind,
        error=error,
        tool_result=told,
    )
