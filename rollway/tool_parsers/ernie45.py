"""The format of Ernie 4.5: Hermes, behind a thought that the prompt may have opened."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import each_call
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="ernie45",
    models="Ernie 4.5 and its thinking models",
    example='<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n',
    parse=TaggedJson("<tool_call>", closing="</tool_call>").parse,
    render=each_call("<tool_call>\n", "\n</tool_call>\n", separator=""),
)
