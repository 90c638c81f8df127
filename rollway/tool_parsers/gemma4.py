"""Gemma 4's format: ``call:name{key:value}`` between tags, strings between ``<|"|>`` marks."""

from __future__ import annotations

import re

from rollway.tool_parsers.brace_calls import BraceFormat, BraceGrammar
from rollway.tool_parsers.brace_render import BraceRenderer
from rollway.tool_parsers.format import ToolFormat

_GRAMMAR = BraceGrammar(
    opening="<|tool_call>",
    closing="<tool_call|>",
    quote='<|"|>',
    thought=re.compile(r"(<\|channel>|<think>)|<channel\|>|</think>"),
)

FORMAT = ToolFormat(
    name="gemma4",
    models="Gemma 4",
    example='<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:3}<tool_call|>',
    special_marks=True,
    parse=BraceFormat(_GRAMMAR).parse,
    render=BraceRenderer(_GRAMMAR),
    cannot_say="""A string or a key that holds the mark <|"|>, as there are no escapes.""",
)
