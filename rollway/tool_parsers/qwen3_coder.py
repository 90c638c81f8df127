"""Qwen3-Coder's format: ``<function=name>`` and a ``<parameter=key>`` for each argument, values on lines."""

from __future__ import annotations

import re

from rollway.tool_parsers.draft import THINK
from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.xml_grammar import Grammar, Trim, Written
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer


def function_grammar(wrapper: str, thought: re.Pattern[str] = THINK) -> Grammar:
    """The grammar with calls inside ``<wrapper>``."""
    return Grammar(
        thought=thought,
        wrapper=f"<{wrapper}>",
        wrapper_close=f"</{wrapper}>",
        call=r"<function=(?P<name>[^<>\n]*+)>",
        call_close="</function>",
        parameter=r"<parameter=(?P<key>[^<>\n]*+)>",
        parameter_close="</parameter>",
        fragments=(r"<parameter=", r"<function="),
        trim=Trim.ONE_NEWLINE,
        written=Written(
            call=(f"<{wrapper}>\n<function={{name}}>\n", f"</function>\n</{wrapper}>"),
            parameter="<parameter={key}>\n{value}\n</parameter>\n",
        ),
    )


_FORMAT = XmlFormat(function_grammar("tool_call"))

FORMAT = ToolFormat(
    name="qwen3_coder",
    aliases=("qwen3_xml", "step3p5"),
    models="Qwen3-Coder, Qwen3.5 and later, Step-3.5, Nemotron 3",
    example=(
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>"
    ),
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=CANNOT_SAY,
)
