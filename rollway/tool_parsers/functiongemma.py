"""FunctionGemma's format: ``call:name{key:<escape>value<escape>}``; a value is JSON where it is JSON."""

from __future__ import annotations

from rollway.tool_parsers.brace_calls import BraceFormat, BraceGrammar
from rollway.tool_parsers.brace_render import BraceRenderer
from rollway.tool_parsers.format import ToolFormat

_GRAMMAR = BraceGrammar(
    opening="<start_function_call>",
    closing="<end_function_call>",
    quote="<escape>",
    quotes_json=True,
)

FORMAT = ToolFormat(
    name="functiongemma",
    models="FunctionGemma",
    example="<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>",
    special_marks=True,
    parse=BraceFormat(_GRAMMAR).parse,
    render=BraceRenderer(_GRAMMAR),
    cannot_say="A key that holds the mark <escape>.",
)
