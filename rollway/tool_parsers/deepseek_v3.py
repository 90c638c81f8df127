"""The format of DeepSeek V3 and R1: the name on a line of its own, the arguments in a fence of JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.named_json import NamedJson
from rollway.tool_parsers.rendering import after_content, argument_json, plain_name
from rollway.trajectory import ToolCall

_BEGIN, _END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_HEAD = f"{_CALL}function{_SEPARATOR}"


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    blocks = [_HEAD + plain_name(call, "<`{") + _fenced(argument_json(call)) + _CALL_END for call in calls]
    lines = "\n".join(blocks)
    return after_content(content, f"{_BEGIN}{lines}{_END}" if blocks else "", "")


def _fenced(json: str) -> str:
    return f"\n```json\n{json}\n```"


FORMAT = ToolFormat(
    name="deepseek_v3",
    models="DeepSeek V3 and V3-0324, DeepSeek R1 and R1-0528",
    example=_BEGIN + _HEAD + "get_weather" + _fenced('{"city": "Oslo"}') + _CALL_END + _END,
    special_marks=True,
    result_tags=("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
    parse=NamedJson(
        section=(_BEGIN, _END),
        opening=_CALL,
        header=rf"[^<]*+{_SEPARATOR}(?P<name>[^\n`<{{]*+)(?:\s*```(?:json)?)?\s*",
        closing=_CALL_END,
        fence="```",
    ).parse,
    render=_render,
    cannot_say="A name with a line break, '<', '{' or a backtick.",
)
