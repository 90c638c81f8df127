"""The Python format of Llama 4: a list of calls, with or without its own two tags around it."""

from __future__ import annotations

from collections.abc import Sequence

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.pythonic import BareLists
from rollway.tool_parsers.pythonic_calls import CANNOT_SAY, write_list
from rollway.tool_parsers.rendering import after_content
from rollway.trajectory import ToolCall

_OPENING, _CLOSING = "<|python_start|>", "<|python_end|>"


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    return after_content(content, f"{_OPENING}{write_list(calls)}{_CLOSING}" if calls else "")


FORMAT = ToolFormat(
    name="llama4_pythonic",
    models="Llama 4 Scout and Maverick",
    example=f"{_OPENING}[get_weather(city='Oslo')]{_CLOSING}",
    special_marks=True,
    parse=BareLists(_OPENING, _CLOSING).parse,
    render=_render,
    cannot_say=CANNOT_SAY,
)
