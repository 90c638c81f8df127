"""The format of Phi-4 mini: the word ``functools`` before a list of calls."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import one_list
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="phi4_mini_json",
    models="Phi-4 mini",
    example='functools[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    # Without a list behind it, the word is the name of Python's module.
    parse=TaggedJson("functools", lookahead=r"(?=\s*+\[\s*+(?:\{|\]|\Z))").parse,
    render=one_list("functools", ""),
)
