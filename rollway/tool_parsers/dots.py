"""The format of dots.llm: MiniMax-M2's in a section of its own; white space around values means nothing."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.minimax_m2 import invoke_grammar
from rollway.tool_parsers.xml_grammar import Trim
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer

_FORMAT = XmlFormat(invoke_grammar("dots_function_call", Trim.ALL))

FORMAT = ToolFormat(
    name="dots",
    models="dots.llm",
    example=(
        '<dots_function_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n'
        "</invoke>\n</dots_function_call>"
    ),
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=f"{CANNOT_SAY} White space at the ends of a string is lost.",
)
