"""The format of DeepSeek V3.1: name, separator, arguments as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.named_json import NamedJson
from rollway.tool_parsers.rendering import after_content, argument_json, plain_name
from rollway.trajectory import ToolCall

_BEGIN, _END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    blocks = [f"{_CALL}{plain_name(call, '<')}{_SEPARATOR}{argument_json(call)}{_CALL_END}" for call in calls]
    return after_content(content, f"{_BEGIN}{''.join(blocks)}{_END}" if blocks else "", "")


FORMAT = ToolFormat(
    name="deepseek_v31",
    models="DeepSeek V3.1 and V3.1-Terminus",
    example=f'{_BEGIN}{_CALL}get_weather{_SEPARATOR}{{"city": "Oslo"}}{_CALL_END}{_END}',
    special_marks=True,
    result_tags=("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
    parse=NamedJson(
        section=(_BEGIN, _END),
        opening=_CALL,
        header=rf"(?P<name>[^<]*+){_SEPARATOR}\s*",
        closing=_CALL_END,
    ).parse,
    render=_render,
    cannot_say="A name with a line break or '<'.",
)
