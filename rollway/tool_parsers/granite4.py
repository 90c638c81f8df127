"""The format of Granite 4: the same as Hermes."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import each_call
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="granite4",
    models="Granite 4.0",
    example='<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    parse=TaggedJson("<tool_call>", closing="</tool_call>").parse,
    render=each_call("<tool_call>\n", "\n</tool_call>"),
)
