"""A call runs only if it is approved: whatever goes wrong on the way to a decision denies it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from rollway.tools import (
    ApprovalPolicy,
    ApprovalRequest,
    ApprovalRule,
    Approved,
    Denied,
    ExecutedCall,
    Notes,
    RolloutContext,
    Rule,
    ToolPool,
    ToolRegistry,
    execute_call,
    tool,
)
from rollway.tools.approval import DENIED
from rollway.trajectory import ToolCall, ToolErrorKind

RAN: list[str] = []


@tool
def terminal(command: str, notes: Notes, timeout: int = 5) -> str:
    """Run."""
    RAN.append(command)
    return f"ran {command} for {timeout}"


@pytest.fixture
def pool() -> Iterator[ToolPool]:
    RAN.clear()
    with ToolPool(2) as made:
        yield made


async def ran(
    pool: ToolPool, policy: ApprovalPolicy, rules: list[Rule] | None = None, **arguments: Any
) -> ExecutedCall:
    call = ToolCall("call_7", "terminal", json.dumps(arguments))
    registry = ToolRegistry([terminal], rules=rules or [])
    return await execute_call(
        call, registry=registry, pool=pool, turn=3, context=RolloutContext("r1"), approval=policy
    )


def assert_denied(executed: ExecutedCall, told: str = DENIED) -> None:
    assert RAN == []
    assert executed.error is not None
    assert executed.error.kind is ToolErrorKind.DENIED
    assert executed.result.approval == "denied"
    assert executed.result.content == told
    assert not executed.result.ok


async def test_rules_allow_deny_and_ask(pool: ToolPool) -> None:
    asked: list[ApprovalRequest] = []

    async def ask(request: ApprovalRequest) -> Approved:
        asked.append(request)
        return Approved()

    policy = ApprovalPolicy(
        rules=[
            ApprovalRule(argument="command", matches="rm *", decide="deny", told="Deleting is off."),
            ApprovalRule(argument="command", matches="git push*", decide="ask"),
        ],
        default="allow",
        ask=ask,
    )
    allowed = await ran(pool, policy, command="ls")
    assert (allowed.result.content, allowed.result.approval) == ("ran ls for 5", "allowed")
    assert asked == []
    approved = await ran(pool, policy, command="git push", timeout="2")
    assert (approved.result.content, approved.result.approval) == ("ran git push for 2", "approved")
    (request,) = asked
    assert (request.tool, request.turn, request.call_id) == ("terminal", 3, "call_7")
    assert request.arguments == {"command": "git push", "timeout": "2"}
    assert request.context.rollout_id == "r1"
    RAN.clear()
    denied = await ran(pool, policy, command="rm -r x")
    assert_denied(denied, "Deleting is off.")
    assert denied.error is not None
    assert denied.error.error == "denied by the rule for '*'"


async def test_without_a_rule_the_default_decides(pool: ToolPool) -> None:
    assert_denied(await ran(pool, ApprovalPolicy(), command="ls"))
    assert (await ran(pool, ApprovalPolicy(default="allow"), command="ls")).error is None
    RAN.clear()
    assert_denied(await ran(pool, ApprovalPolicy(ask=lambda request: Denied("No.")), command="ls"), "No.")


async def test_a_sync_function_is_asked_in_the_pool(pool: ToolPool) -> None:
    threads: list[str] = []

    def ask(request: ApprovalRequest) -> Approved:
        threads.append(threading.current_thread().name)
        return Approved()

    assert (await ran(pool, ApprovalPolicy(ask=ask), command="ls")).error is None
    assert threads[0].startswith("rollway-tool")


async def test_edited_arguments_are_run_and_both_forms_are_on_record(pool: ToolPool) -> None:
    def ask(request: ApprovalRequest) -> Approved:
        request.arguments["timeout"] = 1  # its own copy
        return Approved({"command": "ls"})

    executed = await ran(pool, ApprovalPolicy(ask=ask), command="ls -R /", timeout=9)
    assert executed.result.content == "ran ls for 5"
    assert executed.result.approval == "edited"
    assert executed.result.edited_arguments == '{"command":"ls"}'


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        ({"cmd": "ls"}, "missing 'command'; unknown 'cmd'"),
        ({"command": "ls", "notes": {}}, "unknown 'notes'"),
        ("ls", "must be a JSON object"),
        ({"command": "sudo ls"}, "is not allowed with this 'command'"),
        ({"command": "rm x"}, "denied by the rule for '*'"),
        ({"command": object()}, "cannot write them as JSON"),
    ],
)
async def test_an_edit_gets_round_nothing(pool: ToolPool, edited: Any, words: str) -> None:
    policy = ApprovalPolicy(
        rules=[ApprovalRule(argument="command", matches="rm *", decide="deny")],
        ask=lambda request: Approved(edited),
    )
    rules = [Rule(argument="command", matches="sudo *", allow=False)]
    executed = await ran(pool, policy, rules, command="ls")
    assert_denied(executed)
    assert executed.error is not None
    assert words in executed.error.error


async def test_what_the_rules_refuse_nobody_is_asked_about(pool: ToolPool) -> None:
    def ask(request: ApprovalRequest) -> Approved:
        raise AssertionError

    rules = [Rule(argument="command", matches="sudo *", allow=False)]
    executed = await ran(pool, ApprovalPolicy(ask=ask), rules, command="sudo ls")
    assert executed.error is not None
    assert executed.error.kind is ToolErrorKind.NOT_ALLOWED
    assert executed.result.approval is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ValueError("no terminal"), "raised ValueError: no terminal"),
        (SystemExit(1), "raised SystemExit: 1"),
        (True, "returned a bool"),
        (None, "returned a NoneType"),
        (Approved, "not Approved or Denied"),
        (Denied(None), "denied by"),  # type: ignore[arg-type]
    ],
)
async def test_a_function_that_fails_has_denied(pool: ToolPool, answer: Any, words: str) -> None:
    def ask(request: ApprovalRequest) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    executed = await ran(pool, ApprovalPolicy(ask=ask), command="ls")
    assert_denied(executed)
    assert executed.error is not None
    assert words in executed.error.error


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_that_takes_too_long_has_denied(
    pool: ToolPool, gate: threading.Event, is_async: bool
) -> None:
    async def never(request: ApprovalRequest) -> Approved:
        await pool.call(gate.wait)
        return Approved()

    def later(request: ApprovalRequest) -> Approved:
        gate.wait()
        return Approved()

    executed = await ran(pool, ApprovalPolicy(ask=never if is_async else later, timeout=0.05), command="ls")
    assert_denied(executed)
    assert executed.error is not None
    assert "did not answer within 0.05 seconds" in executed.error.error


def test_a_policy_that_asks_needs_somebody_to_ask() -> None:
    with pytest.raises(ValueError, match="needs a function to ask"):
        ApprovalPolicy(rules=[ApprovalRule(decide="ask")])
    with pytest.raises(ValueError, match="needs a function to ask"):
        ApprovalPolicy(default="ask")


def test_a_decision_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(ValueError, match="decide must be allow, deny, ask, got 'alow'"):
        ApprovalRule(tool="x", decide="alow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="default must be allow, deny, ask, got 'Deny'"):
        ApprovalPolicy(default="Deny")  # type: ignore[arg-type]


def test_approval_rules_stand_in_a_config() -> None:
    assert msgspec.convert({"tool": "terminal", "decide": "ask"}, ApprovalRule).decide == "ask"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tool": "terminal", "decide": "maybe"}, ApprovalRule)


async def test_an_approval_that_waits_takes_no_tools_place() -> None:
    asked, answered = threading.Event(), threading.Event()

    def ask(request: ApprovalRequest) -> Approved:
        asked.set()
        answered.wait(60)
        return Approved()

    with ToolPool(1) as pool:
        waiting = asyncio.create_task(ran(pool, ApprovalPolicy(ask=ask), command="first"))
        assert await asyncio.to_thread(asked.wait, 60)
        async with asyncio.timeout(30):
            assert (await ran(pool, ApprovalPolicy(default="allow"), command="second")).error is None
        answered.set()
        assert (await waiting).error is None
