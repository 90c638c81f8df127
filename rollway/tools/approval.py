"""Approval of calls before they run: by rules, and by a function of the user's if the rules say so.

Errors deny the call: if the function raises, times out or returns something else, the call is denied, and
the record has the reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, get_args

import msgspec

from rollway.tools.context import RolloutContext
from rollway.tools.faults import Fault, message_of, place_of
from rollway.tools.patterns import CallPattern, fits
from rollway.tools.pool import ToolPool
from rollway.tools.pool_records import CallResult, PoolClosed
from rollway.tools.results import printable
from rollway.trajectory import ToolErrorKind

Decision = Literal["allow", "deny", "ask"]

DENIED = "Not run: the call was not approved."
"""The model's message if there is no other."""


class ApprovalRule(CallPattern, frozen=True, kw_only=True):
    """Decides the calls of its pattern."""

    decide: Decision
    told: str = ""  # to the model whose call it denies

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_decision("an approval rule's decide", self.decide)


class ApprovalRequest(msgspec.Struct, frozen=True):
    """A call that waits for a decision."""

    tool: str
    arguments: dict[str, Any]  # as the model wrote them, found valid; a copy
    turn: int  # 1-based
    call_id: str
    context: RolloutContext


class Approved(msgspec.Struct, frozen=True):
    """The call may run."""

    arguments: dict[str, Any] | None = None  # run it with these instead; checked again


class Denied(msgspec.Struct, frozen=True):
    """The call may not run."""

    told: str = DENIED  # to the model


Ask = Callable[[ApprovalRequest], "Approved | Denied | Awaitable[Approved | Denied]"]


class ApprovalPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls may run. The first matching rule decides, otherwise ``default``.

    Raises:
        ValueError: an unknown decision, or a rule asks and there is no function to ask.
    """

    rules: Sequence[ApprovalRule] = ()
    default: Decision | None = None  # None: "ask" where there is somebody to ask, else "deny"
    ask: Ask | None = None  # sync, then it runs in a thread that takes no tool's place, or async
    timeout: float | None = 300.0  # seconds that `ask` has; then the call is denied

    def __post_init__(self) -> None:
        if self.default is not None:
            _check_decision("an approval policy's default", self.default)
        decisions = [self.default, *(rule.decide for rule in self.rules)]
        if self.ask is None and "ask" in decisions:
            raise ValueError("the approval policy needs a function to ask: ask=...")

    def decide(
        self, tool: str, arguments: dict[str, Any], workspace: str | None
    ) -> tuple[Decision, ApprovalRule | None]:
        """The decision on a call, and the rule that made it.

        Args:
            arguments: as the function gets them.
            workspace: the base of relative paths; ``None``: unknown.
        """
        for rule in self.rules:
            if fits(rule, tool, arguments, workspace, strictly=rule.decide == "allow"):
                return rule.decide, rule
        return self.default or ("ask" if self.ask is not None else "deny"), None


def _check_decision(what: str, decision: Any) -> None:
    known = get_args(Decision)
    if decision not in known:
        raise ValueError(f"{what} must be {', '.join(known)}, got {decision!r:.80}")


async def ask_for(policy: ApprovalPolicy, request: ApprovalRequest, pool: ToolPool) -> Approved | Fault:
    """Ask the policy's function. Anything except an approval is a denial."""
    assert policy.ask is not None
    try:
        came = await pool.asking().call(policy.ask, request, timeout=policy.timeout)
    except PoolClosed as error:
        came = CallResult(error=error)
    if isinstance(came.value, Approved):
        return came.value
    if isinstance(came.value, Denied):
        told = printable(str(came.value.told or DENIED))
        return Fault(ToolErrorKind.DENIED, told, why="denied by the approval function")
    return Fault(ToolErrorKind.DENIED, DENIED, why=_trouble(came, policy.timeout))


def _trouble(came: CallResult, timeout: float | None) -> str:
    """Why the function has not decided."""
    if came.timed_out:
        return f"the approval function did not answer within {timeout:g} seconds"
    if came.error is not None:
        what = f"{type(came.error).__name__}: {message_of(came.error)}"
        place = place_of(came.error)
        return f"the approval function raised {what}" + (f" ({place})" if place else "")
    returned = type(came.value).__name__
    return f"the approval function returned a {returned}, not Approved or Denied"
