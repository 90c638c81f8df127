"""The Hermes format, the most common one: a JSON object between ``<tool_call>`` tags for each call."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import each_call
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="hermes",
    aliases=("qwen", "qwen25"),
    models="Hermes 2 Pro and later, Qwen2.5, Qwen3 (not the Coder models), QwQ, and most small fine-tunes",
    example='<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    parse=TaggedJson("<tool_call>", closing="</tool_call>").parse,
    render=each_call("<tool_call>\n", "\n</tool_call>"),
)
