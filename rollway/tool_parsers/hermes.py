"""The Hermes format, the most common one: a JSON object between ``<tool_call>`` tags for each call."""

from __future__ import annotations

from collections.abc import Sequence

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import after_content, named_object
from rollway.tool_parsers.tagged_json import TaggedJson
from rollway.trajectory import ToolCall


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    blocks = [f"<tool_call>\n{named_object(call)}\n</tool_call>" for call in calls]
    return after_content(content, "\n".join(blocks))


FORMAT = ToolFormat(
    name="hermes",
    aliases=("qwen", "qwen25"),
    models="Hermes 2 Pro and later, Qwen2.5, Qwen3 (not the Coder models), QwQ, and most small fine-tunes",
    example='<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    parse=TaggedJson("<tool_call>", "</tool_call>").parse,
    render=_render,
)
