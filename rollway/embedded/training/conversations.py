"""Worked conversations for the policy to learn from: a thought and calls each turn, and an answer.

Some calls are spoilt on purpose, so that a policy sampled at temperature 1 makes real mistakes: a wrong
call is not noticed and leads to a wrong answer; a call that cannot run is reported, and made again.
Every question is of the ``train`` split's stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import msgspec

from rollway.embedded.training.replies import follow
from rollway.environments.calculator.environment import ANSWER_FORM
from rollway.environments.calculator.expressions import SYMBOLS, Operation, choose, fill_in, ready, write
from rollway.environments.calculator.tasks import Question, draw_questions
from rollway.tools import Tool, ToolRegistry
from rollway.trajectory import Message

SPOILT_SHARE = 0.05
"""How many of the calls are spoilt."""

_SYSTEM_SHARE = 0.05
_EXTRA_TOOL_SHARE = 0.1
_SHUFFLED_SHARE = 0.5
_SYSTEM_TEXTS = (
    "You are a calculator.",
    "You are a helpful assistant.",
    "Use the tools to work out the answer.",
)
_EXTRA_TOOLS = ("divide", "power", "remainder", "search", "double")
_WRONG_NAMES = ("plus", "minus", "times", "sum", "calculate")


class Conversation(msgspec.Struct, frozen=True):
    """Messages and the tools that stand in the system message, both in the OpenAI format."""

    messages: list[Message]
    tools: list[dict[str, Any]]


class _Call(msgspec.Struct, frozen=True):
    """What the policy writes between the tags."""

    tool: str
    left: int
    right: int
    fault: str = ""  # "" for a call that runs, or what is wrong: "missing" argument, "unclosed" object


def draw_conversations(seed: int, tools: Sequence[Tool]) -> Iterator[Conversation]:
    """Conversations without end. ``tools`` are the environment's."""
    rng = Random(seed)
    for question in draw_questions("train", seed):
        registry = ToolRegistry(_draw_tools(rng, tools))
        messages: list[Message] = []
        if rng.random() < _SYSTEM_SHARE:
            messages.append({"role": "system", "content": choose(rng, _SYSTEM_TEXTS)})
        messages.append({"role": "user", "content": question.text})
        yield Conversation(messages + _solve(rng, question, registry), registry.definitions())


def _draw_tools(rng: Random, tools: Sequence[Tool]) -> list[Tool]:
    """The environment's tools, often in another order, now and then with one more."""
    offered = list(tools)
    if rng.random() < _EXTRA_TOOL_SHARE:
        offered.append(msgspec.structs.replace(offered[0], name=choose(rng, _EXTRA_TOOLS)))
    if rng.random() < _SHUFFLED_SHARE:
        offered.sort(key=lambda _: rng.random())
    return offered


def _solve(rng: Random, question: Question, registry: ToolRegistry) -> list[Message]:
    messages: list[Message] = []
    state: int | Operation = question.expression
    while isinstance(state, Operation):
        calls = [_draw_call(rng, operation) for operation in ready(state)]
        unreadable = next((call for call in calls if call.fault == "unclosed"), None)
        if unreadable is not None:  # it stands alone, so that the rendered turn is the one that was written
            messages += follow(_turn(state, [unreadable]), registry)
            continue
        turn = follow(_turn(state, calls), registry)
        state = fill_in(state, map(_number, turn[1:]))
        messages += turn
    return messages + follow(_thought(state) + ANSWER_FORM.format(state), registry)


def _number(result: Message) -> int | None:
    """The value that a tool message tells; None when it tells of an error."""
    try:
        return int(result["content"])
    except ValueError:
        return None


def _turn(state: Operation, calls: Sequence[_Call]) -> str:
    return _thought(state) + "".join(map(_written, calls))


def _thought(state: int | Operation) -> str:
    """What is left to compute. No white space around it, so that a parser that strips loses nothing."""
    return f"<think>{write(state)}</think>"


def _written(call: _Call) -> str:
    arguments = json.dumps({"a": call.left} if call.fault == "missing" else {"a": call.left, "b": call.right})
    if call.fault == "unclosed":
        arguments = arguments.removesuffix("}")
    return f'<tool_call>\n{{"name": "{call.tool}", "arguments": {arguments}}}\n</tool_call>'


def _draw_call(rng: Random, operation: Operation) -> _Call:
    left, right = operation.left, operation.right
    assert isinstance(left, int)  # a ready operation
    assert isinstance(right, int)
    call = _Call(operation.tool, left, right)
    return choose(rng, _WAYS_TO_SPOIL)(rng, call) if rng.random() < SPOILT_SHARE else call


def _other_tool(rng: Random, call: _Call) -> _Call:
    return msgspec.structs.replace(call, tool=choose(rng, [tool for tool in SYMBOLS if tool != call.tool]))


def _wrong_digit(rng: Random, call: _Call) -> _Call:
    return _spoil_operand(rng, call, _change_digit)


def _lost_digit(rng: Random, call: _Call) -> _Call:
    return _spoil_operand(rng, call, _drop_or_add_digit)


def _spoil_operand(rng: Random, call: _Call, spoil: Any) -> _Call:
    if rng.random() < 0.5:
        return msgspec.structs.replace(call, left=spoil(rng, call.left))
    return msgspec.structs.replace(call, right=spoil(rng, call.right))


def _change_digit(rng: Random, value: int) -> int:
    sign, digits = (-1 if value < 0 else 1), list(str(abs(value)))
    place = int(rng.random() * len(digits))
    digits[place] = choose(rng, "123456789".replace(digits[place], ""))
    return sign * int("".join(digits))


def _drop_or_add_digit(rng: Random, value: int) -> int:
    sign, digits = (-1 if value < 0 else 1), str(abs(value))
    return sign * int(digits[:-1] if len(digits) > 1 else digits + choose(rng, "0123456789"))


def _unknown_tool(rng: Random, call: _Call) -> _Call:
    return msgspec.structs.replace(call, tool=choose(rng, _WRONG_NAMES))


def _missing_argument(rng: Random, call: _Call) -> _Call:
    return msgspec.structs.replace(call, fault="missing")


def _unclosed_object(rng: Random, call: _Call) -> _Call:
    return msgspec.structs.replace(call, fault="unclosed")


_WAYS_TO_SPOIL = (
    *[_other_tool] * 2,
    *[_wrong_digit] * 2,
    *[_lost_digit] * 3,
    _unknown_tool,
    _missing_argument,
    _unclosed_object,
)
