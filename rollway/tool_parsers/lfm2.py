"""The format of LFM2: a list of calls as Python writes them, between tags."""

from __future__ import annotations

from collections.abc import Sequence

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.pythonic_calls import CANNOT_SAY, TaggedPython, write_list
from rollway.tool_parsers.rendering import after_content
from rollway.trajectory import ToolCall

_OPENING, _CLOSING = "<|tool_call_start|>", "<|tool_call_end|>"


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    return after_content(content, f"{_OPENING}{write_list(calls)}{_CLOSING}" if calls else "")


FORMAT = ToolFormat(
    name="lfm2",
    models="LFM2 and LFM2.5",
    example=f"{_OPENING}[get_weather(city='Oslo')]{_CLOSING}",
    special_marks=True,
    parse=TaggedPython(_OPENING, _CLOSING).parse,
    render=_render,
    cannot_say=CANNOT_SAY,
)
