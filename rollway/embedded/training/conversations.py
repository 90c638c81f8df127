"""Worked conversations for the policy to learn from: a question, a thought and calls each turn, an answer.

Some calls are spoilt on purpose, so that a policy sampled at temperature 1 makes real mistakes: a wrong
call is not noticed and leads to a wrong answer; a call that cannot run is reported, and made again.
Everything the policy reads in training comes from the ``train`` split's stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import msgspec

from rollway.environments.calculator.environment import ANSWER_FORM
from rollway.environments.calculator.expressions import (
    SYMBOLS,
    Operation,
    apply,
    choose,
    fill_in,
    ready,
    write,
)
from rollway.environments.calculator.tasks import Question, draw_questions
from rollway.trajectory import Message

SPOILT_SHARE = 0.05
"""How many of the calls are spoilt."""

_SYSTEM_SHARE = 0.05
_EXTRA_TOOL_SHARE = 0.1
_SYSTEM_TEXTS = (
    "You are a calculator.",
    "You are a helpful assistant.",
    "Use the tools to work out the answer.",
)
_EXTRA_TOOLS = ("divide", "power", "negate", "remainder", "search", "double")
_UNKNOWN_TOOLS = ("plus", "minus", "times", "divide", "sum", "calculate")


class Conversation(msgspec.Struct, frozen=True):
    """Messages and the tools that stand in the system message, both in the OpenAI format."""

    messages: list[Message]
    tools: list[dict[str, Any]]


class _Call(msgspec.Struct, frozen=True):
    """What the model writes between the tags, and what comes of it."""

    name: str
    arguments: str
    value: int | None  # None when the call cannot run
    complaint: str = ""  # what the model is told when it cannot run
    readable: bool = True  # False when the text is no call at all


def draw_conversations(seed: int, tools: Sequence[dict[str, Any]]) -> Iterator[Conversation]:
    """Conversations without end. ``tools`` are the environment's tool definitions."""
    rng = Random(seed)
    for question in draw_questions("train", seed):
        offered = _draw_tools(rng, tools)
        messages: list[Message] = []
        if rng.random() < _SYSTEM_SHARE:
            messages.append({"role": "system", "content": choose(rng, _SYSTEM_TEXTS)})
        messages.append({"role": "user", "content": question.text})
        names = sorted(tool["function"]["name"] for tool in offered)
        yield Conversation(messages + _solve(rng, question, names), offered)


def thought_and(thought: str, rest: str) -> str:
    """The text of a turn. No white space around the thought, so none can be lost by a parser that strips."""
    return f"<think>{thought}</think>{rest}"


def _draw_tools(rng: Random, tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools in some order, the environment's own half of the time, now and then with another."""
    offered = list(tools)
    if rng.random() < _EXTRA_TOOL_SHARE:
        offered.append(_definition(choose(rng, _EXTRA_TOOLS)))
    if rng.random() < 0.5:
        offered.sort(key=lambda _: rng.random())
    return offered


def _definition(name: str) -> dict[str, Any]:
    properties = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    parameters = {"type": "object", "properties": properties, "required": ["a", "b"]}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def _solve(rng: Random, question: Question, names: list[str]) -> list[Message]:
    messages: list[Message] = []
    state: int | Operation = question.expression
    while isinstance(state, Operation):
        calls = [_draw_call(rng, operation, names) for operation in ready(state)]
        if not all(call.readable for call in calls):
            messages += _unreadable_turn(write(state), calls[0])
            continue
        messages += _turn(write(state), calls)
        state = fill_in(state, iter([call.value for call in calls]))
    answer = thought_and(str(state), ANSWER_FORM.format(state))
    return [*messages, {"role": "assistant", "content": answer}]


def _turn(thought: str, calls: Sequence[_Call]) -> list[Message]:
    written = [{"function": {"name": call.name, "arguments": call.arguments}} for call in calls]
    results = [
        {"role": "tool", "content": call.complaint if call.value is None else str(call.value)}
        for call in calls
    ]
    return [{"role": "assistant", "content": thought_and(thought, ""), "tool_calls": written}, *results]


def _unreadable_turn(thought: str, call: _Call) -> list[Message]:
    block = f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n</tool_call>'
    return [
        {"role": "assistant", "content": thought_and(thought, block)},
        {"role": "user", "name": "rollway", "content": call.complaint},
    ]


def _draw_call(rng: Random, operation: Operation, names: list[str]) -> _Call:
    if rng.random() < SPOILT_SHARE:
        return choose(rng, _WAYS_TO_SPOIL)(rng, operation, names)
    return _call(operation)


def _call(operation: Operation) -> _Call:
    left, right = operation.left, operation.right
    assert isinstance(left, int)  # a ready operation
    assert isinstance(right, int)
    return _Call(operation.tool, _arguments(left, right), apply(operation.tool, left, right))


def _arguments(left: Any, right: Any) -> str:
    return json.dumps({"a": left, "b": right})


def _wrong_tool(rng: Random, operation: Operation, names: list[str]) -> _Call:
    others = [tool for tool in SYMBOLS if tool != operation.tool]
    return _call(Operation(choose(rng, others), operation.left, operation.right))


def _wrong_digit(rng: Random, operation: Operation, names: list[str]) -> _Call:
    sides = [operation.left, operation.right]
    place = int(rng.random() * 2)
    digits = list(str(sides[place]))
    at = len(digits) - 1 - int(rng.random() * sum(digit.isdigit() for digit in digits))
    digits[at] = choose(rng, "123456789".replace(digits[at], ""))
    sides[place] = int("".join(digits))
    return _call(Operation(operation.tool, sides[0], sides[1]))


def _lost_digit(rng: Random, operation: Operation, names: list[str]) -> _Call:
    sides = [operation.left, operation.right]
    place = int(rng.random() * 2)
    value = sides[place]
    assert isinstance(value, int)
    sides[place] = value // 10 if abs(value) > 9 else value * 10 + int(rng.random() * 10)
    return _call(Operation(operation.tool, sides[0], sides[1]))


def _unknown_tool(rng: Random, operation: Operation, names: list[str]) -> _Call:
    name = choose(rng, [name for name in _UNKNOWN_TOOLS if name not in names])
    told = f"Error: there is no tool named '{name}'. The tools are: {', '.join(names)}."
    return _Call(name, _call(operation).arguments, None, told)


def _missing_argument(rng: Random, operation: Operation, names: list[str]) -> _Call:
    told = "Error: invalid arguments: 'b' is a required property."
    return _Call(operation.tool, json.dumps({"a": operation.left}), None, told)


def _broken_json(rng: Random, operation: Operation, names: list[str]) -> _Call:
    told = (
        "Your reply held a tool call that could not be read and did not run:\n- invalid JSON\n"
        "Write the call again, whole and in the right format, or answer without it."
    )
    arguments = _call(operation).arguments.removesuffix("}")
    return _Call(operation.tool, arguments, None, told, readable=False)


_WAYS_TO_SPOIL = (
    _wrong_tool,
    _wrong_tool,
    _wrong_digit,
    _wrong_digit,
    _lost_digit,
    _lost_digit,
    _lost_digit,
    _unknown_tool,
    _missing_argument,
    _broken_json,
)
