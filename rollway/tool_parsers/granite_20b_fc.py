"""The format of Granite 20B Function Calling: a tag before each call, and none behind it."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import each_call
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="granite-20b-fc",
    models="Granite 20B Function Calling",
    example='<function_call> {"name": "get_weather", "arguments": {"city": "Oslo"}}',
    special_marks=True,
    parse=TaggedJson("<function_call>").parse,
    render=each_call("<function_call> ", ""),
)
