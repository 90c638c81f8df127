"""The format of Jamba: all calls in one list between tags."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import one_list
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="jamba",
    models="Jamba 1.5 to 1.7",
    example='<tool_calls>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]</tool_calls>',
    special_marks=True,
    parse=TaggedJson("<tool_calls>", closing="</tool_calls>").parse,
    render=one_list("<tool_calls>", "</tool_calls>"),
)
