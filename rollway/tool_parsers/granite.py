"""The format of Granite 3: a list of calls behind one tag, which is never closed."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import one_list
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="granite",
    models="Granite 3.0 (with the tag <|tool_call|>) and Granite 3.1 to 3.3 (with <tool_call>)",
    example='<tool_call>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    special_marks=True,
    parse=TaggedJson("<|tool_call|>", "<tool_call>", closing="</tool_call>").parse,
    render=one_list("<tool_call>", ""),
)
