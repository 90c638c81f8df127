"""Seed-OSS's format: Qwen3-Coder's, in a wrapper of its own."""

from __future__ import annotations

import re

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.qwen3_coder import function_grammar
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer

_THOUGHT = re.compile("(<seed:think>|<think>)|</seed:think>|</think>")
_FORMAT = XmlFormat(function_grammar("seed:tool_call", _THOUGHT))

FORMAT = ToolFormat(
    name="seed_oss",
    models="Seed-OSS",
    example=(
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n"
        "</seed:tool_call>"
    ),
    special_marks=True,
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=CANNOT_SAY,
)
