"""The format of Hunyuan A13B: all calls in one list between tags, each on lines of its own."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import one_list
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="hunyuan_a13b",
    models="Hunyuan A13B",
    example='<tool_calls>\n[{"name": "get_weather", "arguments": {"city": "Oslo"}}]\n</tool_calls>',
    parse=TaggedJson("<tool_calls>", closing="</tool_calls>").parse,
    render=one_list("<tool_calls>\n", "\n</tool_calls>"),
)
