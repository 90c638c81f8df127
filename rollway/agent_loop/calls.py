"""The calls of a turn: run at the same time, answered in their order.

The invariant: each call gets exactly one result and one tool message, also where it may not run, or the
rollout ends while it runs.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Sequence

from rollway.agent_loop.shown import PLACE, TOOL_SUFFIX
from rollway.clock import Lane, RolloutClock
from rollway.limits import Limits
from rollway.replies import repair_request
from rollway.tool_parsers import ParseError
from rollway.tools import (
    ApprovalPolicy,
    CallExecutor,
    ExecutedCall,
    RolloutContext,
    ToolPool,
    ToolRegistry,
    answer_without_running,
    execute_call,
)
from rollway.tools.budgets import fitted, shares_of
from rollway.tools.machine_faults import MachineFault
from rollway.trajectory import ToolCall, ToolError, ToolErrorKind, Trajectory, Turn

UNWIND_SECONDS = 2.0
"""How long a rollout that is ended waits for its calls to clean up. An async tool has half of it."""


class TurnCalls:
    """Runs the calls of a rollout's turns and enters what came of them into its record.

    Attributes:
        machine_fault: why the latest turn's results say nothing about the policy; None: they do.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        context: RolloutContext,
        *,
        tools: ToolRegistry,
        pool: ToolPool,
        limits: Limits,
        approval: ApprovalPolicy | None,
        keep_results: bool,
        execute: CallExecutor | None,
        clock: RolloutClock,
    ) -> None:
        self.clock = clock
        self.trajectory = trajectory
        self.context = context
        self.limits = limits
        self.keep_results = keep_results
        self.count = sum(len(turn.tool_calls) for turn in trajectory.turns)  # of the whole rollout
        self.machine_fault: MachineFault | None = None  # of the first call that has one
        self._around = execute
        self._execute = functools.partial(
            execute_call,
            registry=tools,
            pool=pool,
            timeout=limits.tool_timeout,
            max_result_chars=limits.max_result_chars,
            context=context,
            approval=approval,
        )

    @property
    def running(self) -> int:
        """Calls that run at this moment, and do not wait for the pool or an approval."""
        return self.clock.lanes_at_work

    async def run(self, calls: Sequence[ToolCall], turn: Turn) -> bool:
        """Run a turn's calls at the same time. True when one of them ends the rollout."""
        before, self.count = self.count, self.count + len(calls)
        tasks = [
            asyncio.ensure_future(self._run_one(call, turn, position=position))
            for position, call in enumerate(calls, before)
        ]
        notes: dict[str, str] = {}
        try:
            if tasks:
                await asyncio.wait(tasks)
            executed: Sequence[ExecutedCall] = _results(tasks, calls, turn)
            if self.keep_results:
                with self.clock.doing("keep_results"), self.clock.resting():
                    notes = await self._keep(executed)
        except BaseException:
            try:
                await _unwound(tasks)
            finally:
                self._enter(calls, _salvaged(tasks, calls, turn), {}, turn)
            raise
        executed = self._enter(calls, executed, notes, turn)
        faults = (one.machine_fault for one in executed)
        self.machine_fault = next((fault for fault in faults if fault is not None), None)
        return any(one.stop for one in executed)

    def answer_cut_off(self, calls: Sequence[ToolCall], errors: Sequence[ParseError], turn: Turn) -> None:
        """Answer calls of a reply that is not whole, without running them. Of those that could not be read
        the model gets no message, because it is not asked again."""
        self._answer([(call, _cut_off(call, turn)) for call in calls], turn)
        self.leave_unread(errors, turn, why=f"the reply ended with {turn.finish_reason!r}")

    def note_missing_call(self, turn: Turn) -> None:
        """Tell the record that the server spoke of a call and gave none: what it was, nobody knows."""
        self.trajectory.tool_errors.append(
            ToolError(
                turn=turn.index + 1,
                tool_name="",
                arguments="",
                kind=ToolErrorKind.PARSE,
                error=f"the reply ended with {turn.finish_reason!r}, but the server gives no call",
                tool_result="",
            )
        )

    def leave_unread(self, errors: Sequence[ParseError], turn: Turn, *, why: str) -> None:
        """Tell the record alone which calls could not be read, and why the model is not asked again."""
        self._enter_unread(errors, turn, told="", why=f"; {why}")

    def ask_again(self, errors: Sequence[ParseError], turn: Turn, *, under_results: bool) -> None:
        """Tell the model, and the record, which of its calls could not be read: in a user message, or
        (``under_results``) in a paragraph under the turn's last tool result, where it has one."""
        told = repair_request(errors)
        if under_results and turn.tool_results:
            told[PLACE] = TOOL_SUFFIX
        self.trajectory.messages.append(told)
        self._enter_unread(errors, turn, told=told["content"])

    def _enter_unread(self, errors: Sequence[ParseError], turn: Turn, *, told: str, why: str = "") -> None:
        for error in errors:
            self.trajectory.tool_errors.append(
                ToolError(
                    turn=turn.index + 1,
                    tool_name=error.name,
                    arguments=error.raw,
                    kind=ToolErrorKind.PARSE,
                    error=f"{error.kind.value} at character {error.position}: {error.message}{why}",
                    tool_result=told,
                )
            )

    async def _run_one(self, call: ToolCall, turn: Turn, *, position: int) -> ExecutedCall:
        with self.clock.lane() as lane:
            return await self._run_or_refuse(call, turn, position=position, lane=lane)

    async def _run_or_refuse(self, call: ToolCall, turn: Turn, *, position: int, lane: Lane) -> ExecutedCall:
        """Run the rollout's call number ``position`` (0-based), or say why it may not run."""
        limit = self.limits.max_tool_calls
        if limit is not None and position >= limit:
            return answer_without_running(
                call,
                turn=turn.index + 1,
                kind=ToolErrorKind.NOT_ALLOWED,
                error=f"the rollout's limit of {limit} tool calls is used up",
                told="Not run: no tool calls are left. Answer with what you know.",
            )
        if self._around is None:
            return await self._execute(call, turn=turn.index + 1, clock=lane)
        run = functools.partial(self._execute, call, turn=turn.index + 1, clock=lane)
        return await self._around(call, turn=turn.index + 1, context=self.context, run=run)

    async def _keep(self, executed: Sequence[ExecutedCall]) -> dict[str, str]:
        from rollway.tools.kept_results import keep_whole

        assert self.context.sandbox is not None  # `AgentLoop.run` saw to it
        return await keep_whole(executed, self._shares(executed), self.context.sandbox)

    def _fitted(self, executed: Sequence[ExecutedCall], notes: dict[str, str]) -> Sequence[ExecutedCall]:
        """The results cut to what a turn may show. Each is within its own bound already."""
        if self.limits.max_turn_result_chars is None and not notes:
            return executed
        return fitted(executed, self._shares(executed), notes)

    def _shares(self, executed: Sequence[ExecutedCall]) -> list[int]:
        return shares_of(executed, self.limits.max_result_chars, self.limits.max_turn_result_chars)

    def _enter(
        self, calls: Sequence[ToolCall], executed: Sequence[ExecutedCall], notes: dict[str, str], turn: Turn
    ) -> Sequence[ExecutedCall]:
        shown = self._fitted(executed, notes)
        self._answer(zip(calls, shown, strict=True), turn)
        return shown

    def _answer(self, answers: Iterable[tuple[ToolCall, ExecutedCall]], turn: Turn) -> None:
        for call, executed in answers:
            turn.tool_results.append(executed.result)
            if executed.error is not None:
                self.trajectory.tool_errors.append(executed.error)
            self.trajectory.messages.append(
                {
                    "role": "tool",
                    "tool_call_id": call.id,
                    "name": call.name,
                    "content": executed.result.content,
                }
            )


def _cut_off(call: ToolCall, turn: Turn) -> ExecutedCall:
    return answer_without_running(
        call,
        turn=turn.index + 1,
        kind=ToolErrorKind.CANCELLED,
        error=f"the reply ended with {turn.finish_reason!r}, so the call may be incomplete",
        told="Not run: the reply was cut off.",
    )


async def _unwound(tasks: Sequence[asyncio.Future[ExecutedCall]]) -> None:
    """Cancel the calls and let them clean up, so that nothing is taken down around a tool that still runs."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=UNWIND_SECONDS)


def _results(
    tasks: Sequence[asyncio.Future[ExecutedCall]], calls: Sequence[ToolCall], turn: Turn
) -> list[ExecutedCall]:
    """What came of calls that have all ended. A programming error of the engine's is raised."""
    return [
        _unfinished(call, turn) if task.cancelled() else task.result()
        for task, call in zip(tasks, calls, strict=True)
    ]


def _salvaged(
    tasks: Sequence[asyncio.Future[ExecutedCall]], calls: Sequence[ToolCall], turn: Turn
) -> list[ExecutedCall]:
    """The results of the calls that had ended when the rollout did, and an answer for each other one."""
    return [
        task.result()
        if task.done() and not task.cancelled() and task.exception() is None
        else _unfinished(call, turn)
        for task, call in zip(tasks, calls, strict=True)
    ]


def _unfinished(call: ToolCall, turn: Turn) -> ExecutedCall:
    return answer_without_running(
        call,
        turn=turn.index + 1,
        kind=ToolErrorKind.CANCELLED,
        error="the rollout ended while the tool ran",
        told="Not finished: the rollout ended.",
    )
