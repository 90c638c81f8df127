"""The format of Olmo 3: calls as Python writes them, one on each line, between tags."""

from __future__ import annotations

from collections.abc import Sequence

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.pythonic_calls import CANNOT_SAY, TaggedPython, write_call
from rollway.tool_parsers.rendering import after_content
from rollway.trajectory import ToolCall


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    lines = "\n".join(write_call(call) for call in calls)
    return after_content(content, f"<function_calls>\n{lines}\n</function_calls>" if calls else "")


FORMAT = ToolFormat(
    name="olmo3",
    models="Olmo 3",
    example="<function_calls>\nget_weather(city='Oslo')\n</function_calls>",
    parse=TaggedPython("<function_calls>", "</function_calls>").parse,
    render=_render,
    cannot_say=CANNOT_SAY,
)
