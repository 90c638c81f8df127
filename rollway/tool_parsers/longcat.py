"""The format of LongCat: Hermes with tags of its own."""

from __future__ import annotations

import re

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import each_call
from rollway.tool_parsers.tagged_json import TaggedJson

_THOUGHT = re.compile(r"<(?:((?:longcat_)?think)|/(?:longcat_)?think)>")

FORMAT = ToolFormat(
    name="longcat",
    models="LongCat-Flash Chat and Thinking",
    example='<longcat_tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</longcat_tool_call>',
    special_marks=True,
    parse=TaggedJson("<longcat_tool_call>", closing="</longcat_tool_call>", thought=_THOUGHT).parse,
    render=each_call("<longcat_tool_call>", "</longcat_tool_call>"),
)
