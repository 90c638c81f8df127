"""The format of Cohere's Command A and R7B: thought, response and actions, each between tags.

Unlike elsewhere, the thought is no content here: the servers take it out with the calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.format import ToolFormat, Tools
from rollway.tool_parsers.json_blocks import BlockReader, JsonTags
from rollway.tool_parsers.json_calls import Call, CallKeys, Fault, read_call
from rollway.tool_parsers.output import ParsedOutput
from rollway.tool_parsers.rendering import argument_json, quote
from rollway.trajectory import ToolCall

_ACTION, _ACTION_END = "<|START_ACTION|>", "<|END_ACTION|>"
_THOUGHT, _THOUGHT_END = "<|START_THINKING|>", "<|END_THINKING|>"
_RESPONSE, _RESPONSE_END = "<|START_RESPONSE|>", "<|END_RESPONSE|>"
_KEYS = CallKeys(("tool_name", "name"), ("parameters", "arguments"), ("tool_call_id", "id"))
_TAGS = JsonTags([_ACTION], [_ACTION_END])
_MARK = re.compile(r"<\|(?P<side>START|END)_(?P<part>THINKING|RESPONSE|TEXT|ACTION)\|>")
_NEXT_PART = re.compile(r"<\|START_(?:ACTION|RESPONSE)\|>")


def _read_item(source: str, lenient: bool) -> list[Call] | Fault:
    call = read_call(source, lenient=lenient, keys=_KEYS)
    return call if isinstance(call, Fault) else [call]


def _parse(text: str, tools: Tools, lenient: bool) -> ParsedOutput:
    draft = Draft(text, None)
    reader = BlockReader(_TAGS, draft, _read_item, lenient)
    position = 0
    seen_thought = False
    while (mark := _MARK.search(text, position)) is not None:
        position = mark.end()
        if mark[0] == _ACTION:
            position = reader.read(mark.start(), position)
        elif mark[0] == _THOUGHT:
            position = _thought_end(text, position)
            draft.drop(mark.start(), position)
        elif mark[0] == _THOUGHT_END and not seen_thought:
            draft.take_back(position)  # the prompt had opened the thought
            draft.drop(0, position)
        else:
            draft.drop(*mark.span())
        seen_thought = seen_thought or mark["part"] == "THINKING"
    return draft.finish(position)


def _thought_end(text: str, position: int) -> int:
    """Where a thought ends: at its tag, else at the next part, else with the text."""
    closing = text.find(_THOUGHT_END, position)
    if closing >= 0:
        return closing + len(_THOUGHT_END)
    following = _NEXT_PART.search(text, position)
    return following.start() if following else len(text)


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    response = f"{_RESPONSE}{content}{_RESPONSE_END}" if content else ""
    items = ",\n".join(_item(call, index) for index, call in enumerate(calls))
    return response + (f"{_ACTION}[\n{items}\n]{_ACTION_END}" if calls else "")


def _item(call: ToolCall, index: int) -> str:
    arguments = argument_json(call)
    call_id = quote(call.id or str(index))
    return f'    {{"tool_call_id": {call_id}, "tool_name": {quote(call.name)}, "parameters": {arguments}}}'


FORMAT = ToolFormat(
    name="cohere_command3",
    models="Command A, Command A Reasoning, Command R7B",
    example=(
        f"{_RESPONSE}I will look it up.{_RESPONSE_END}{_ACTION}[\n"
        f"    {json.dumps({'tool_call_id': '0', 'tool_name': 'get_weather', 'parameters': {'city': 'Oslo'}})}"
        f"\n]{_ACTION_END}"
    ),
    special_marks=True,
    parse=_parse,
    render=_render,
)
