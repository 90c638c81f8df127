"""From what a model wrote to a call that may run: validated, allowed by the rules, approved, filled in.

Whatever is edited on the way goes through the same checks again.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

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
    filled: dict[str, Any] | None = None  # what the rollout fills in
    fault: Fault | None = None
    approval: str | None = None  # as in `ToolResult`
    edited: str | None = None  # the arguments that it runs with, where they are not the model's

    def call(self) -> Bound:
        """What the function is called with."""
        args, kwargs = self.bound
        return (args, {**kwargs, **self.filled}) if self.filled else self.bound


class Readier(msgspec.Struct, frozen=True):
    """What a turn's calls are checked against."""

    registry: ToolRegistry
    pool: ToolPool
    turn: int  # 1-based
    context: RolloutContext | None = None

    def check(self, tool: Tool, call: ToolCall) -> Readied:
        """All but the approval."""
        bound = self._bind(tool, call.arguments)
        if isinstance(bound, Fault):
            return Readied(fault=bound)
        if not tool.context:
            return Readied(bound)
        try:
            return Readied(bound, fill_in(tool.context, self.context))
        except NoSandbox:
            return Readied(fault=no_sandbox(tool.name))

    async def approve(self, policy: ApprovalPolicy, tool: Tool, call: ToolCall, readied: Readied) -> Readied:
        """Have a call approved that passed `check`."""
        decision, denied = self._decide(policy, tool, readied.bound)
        if decision == "deny":
            return replace(readied, fault=denied, approval="denied")
        if decision == "allow":
            return replace(readied, approval="allowed")
        context = RolloutContext() if self.context is None else self.context
        arguments = parse_arguments(call.arguments)
        request = ApprovalRequest(tool.name, arguments, self.turn, call.id, context)
        answer = await ask_for(policy, request, self.pool)
        if isinstance(answer, Fault):
            return replace(readied, fault=answer, approval="denied")
        if answer.arguments is None:
            return replace(readied, approval="approved")
        return self._edited(policy, tool, answer, readied)

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

    def _edited(self, policy: ApprovalPolicy, tool: Tool, answer: Approved, readied: Readied) -> Readied:
        """An edit gets round neither the schema, nor the rules, nor what the policy denies.

        One that tries is a denial: it is no fault of the model's.
        """
        try:
            text = msgspec.json.encode(answer.arguments).decode()
        except (TypeError, ValueError, RecursionError) as error:
            return replace(
                readied, fault=_wrong_edit(f"cannot write them as JSON: {error}"), approval="denied"
            )
        bound = self._bind(tool, text)
        denied = bound if isinstance(bound, Fault) else self._decide(policy, tool, bound)[1]
        if denied is not None:
            fault = _wrong_edit(denied.why or denied.told)
            return replace(readied, fault=fault, approval="denied", edited=text)
        assert not isinstance(bound, Fault)
        return replace(readied, bound=bound, approval="edited", edited=text)

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


def _wrong_edit(reason: str) -> Fault:
    why = f"the approval function's arguments are not allowed: {reason.removeprefix('Error: ')}"
    return Fault(ToolErrorKind.DENIED, DENIED, why=why)
