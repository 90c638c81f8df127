"""FunctionGemma's format: ``call:name{key:<escape>value<escape>}``; a value is JSON where it is JSON."""

from __future__ import annotations

from rollway.tool_parsers.brace_calls import BraceFormat, BraceGrammar
from rollway.tool_parsers.format import ToolFormat

_FORMAT = BraceFormat(
    BraceGrammar(
        opening="<start_function_call>",
        closing="<end_function_call>",
        quote="<escape>",
        quotes_json=True,
    )
)

FORMAT = ToolFormat(
    name="functiongemma",
    models="FunctionGemma",
    example="<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>",
    parse=_FORMAT.parse,
    render=_FORMAT.render,
    cannot_say="A key that holds the mark <escape>.",
)
