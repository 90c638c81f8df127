"""From what a model wrote to a call that may run: validated, allowed by the rules, approved, filled in.

Whatever is edited on the way goes through the same checks again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rollway.tools.approval import DENIED, ApprovalPolicy, ApprovalRequest, Approved, ask_for
from rollway.tools.arguments import parse_arguments
from rollway.tools.context import RolloutContext
from rollway.tools.context_parameters import NoSandbox, fill_in
from rollway.tools.definition import Tool
from rollway.tools.faults import Fault, bad_arguments, no_sandbox
from rollway.tools.patterns import values_of
from rollway.tools.pool import ToolPool
from rollway.tools.registry import ToolRegistry
from rollway.trajectory import ToolCall, ToolErrorKind

Bound = tuple[tuple[Any, ...], dict[str, Any]]
"""What a function is called with."""


class Readied(msgspec.Struct, frozen=True):
    """A call that may run, or why it may not."""

    bound: Bound = ((), {})
    fault: Fault | None = None
    approval: str | None = None  # as in `ToolResult`
    edited: str | None = None  # the arguments that it runs with, where they are not the model's


class Readier(msgspec.Struct, frozen=True):
    """What a turn's calls are checked against."""

    registry: ToolRegistry
    pool: ToolPool
    turn: int  # 1-based
    context: RolloutContext | None = None
    approval: ApprovalPolicy | None = None

    async def ready(self, tool: Tool, call: ToolCall) -> Readied:
        """Check a call."""
        bound = self._bind(tool, call.arguments)
        if isinstance(bound, Fault):
            return Readied(fault=bound)
        try:
            filled = fill_in(tool.context, self.context) if tool.context else None
        except NoSandbox:
            return Readied(fault=no_sandbox(tool.name))
        if self.approval is None:
            readied = Readied(bound)
        else:
            readied = await self._approved(self.approval, tool, call, bound)
        if filled is None or readied.fault is not None:
            return readied
        args, kwargs = readied.bound
        return msgspec.structs.replace(readied, bound=(args, {**kwargs, **filled}))

    def _bind(self, tool: Tool, arguments: str | None) -> Bound | Fault:
        try:
            args, kwargs = tool.bind(arguments)
        except Exception as error:
            return bad_arguments(tool.name, error)
        if self.registry.rules:
            told = self.registry.refusal(tool, args, kwargs, self._workspace())
            if told is not None:
                return Fault(ToolErrorKind.NOT_ALLOWED, told)
        return args, kwargs

    async def _approved(self, policy: ApprovalPolicy, tool: Tool, call: ToolCall, bound: Bound) -> Readied:
        decision, denied = self._decide(policy, tool, bound)
        if denied is not None:
            return Readied(fault=denied, approval="denied")
        if decision == "allow":
            return Readied(bound, approval="allowed")
        request = ApprovalRequest(
            tool.name, parse_arguments(call.arguments), self.turn, call.id, self.context or RolloutContext()
        )
        answer = await ask_for(policy, request, self.pool)
        if isinstance(answer, Fault):
            return Readied(fault=answer, approval="denied")
        if answer.arguments is None:
            return Readied(bound, approval="approved")
        return self._edited(policy, tool, answer)

    def _edited(self, policy: ApprovalPolicy, tool: Tool, answer: Approved) -> Readied:
        """An edit gets round neither the schema, nor the rules, nor what the policy denies."""
        try:
            text = msgspec.json.encode(answer.arguments).decode()
        except (TypeError, ValueError, RecursionError) as error:
            why = f"the approval function edited the arguments to what JSON cannot say: {error}"
            return Readied(fault=Fault(ToolErrorKind.DENIED, DENIED, why=why), approval="denied")
        bound = self._bind(tool, text)
        if isinstance(bound, Fault):
            return Readied(fault=bound, approval="edited", edited=text)
        _, denied = self._decide(policy, tool, bound)
        return Readied(bound, denied, "edited" if denied is None else "denied", text)

    def _decide(self, policy: ApprovalPolicy, tool: Tool, bound: Bound) -> tuple[str, Fault | None]:
        values = values_of(tool.function, *bound) if policy.rules else {}
        decision, rule = policy.decide(tool.name, values, self._workspace())
        if decision != "deny":
            return decision, None
        why = f"denied by the rule for {rule.tool!r}" if rule is not None else "denied: no rule allows it"
        return decision, Fault(ToolErrorKind.DENIED, rule.told if rule and rule.told else DENIED, why=why)

    def _workspace(self) -> str | None:
        sandbox = self.context.sandbox if self.context is not None else None
        return sandbox.workspace if sandbox is not None else None
