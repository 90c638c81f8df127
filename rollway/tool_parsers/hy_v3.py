"""Hunyuan 3's format: GLM's pairs behind ``<tool_sep>``, in one section; tags may carry a suffix."""

from __future__ import annotations

import re

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.xml_grammar import Grammar, Written
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer

_FORMAT = XmlFormat(
    Grammar(
        section="<tool_calls>",
        section_close="</tool_calls>",
        call="<tool_call>",
        call_close="</tool_call>",
        name_close="<tool_sep>",
        parameter=r"<arg_key>(?P<key>[^<]*+)</arg_key>\s*+<arg_value>",
        parameter_close="</arg_value>",
        fragments=("<arg_key>", "<arg_value>"),
        suffixes=True,
        thought=re.compile(r"(<think(?::[\w-]{1,64})?>)|</think(?::[\w-]{1,64})?>"),
        written=Written(
            section=("<tool_calls>\n", "\n</tool_calls>"),
            call=("<tool_call>{name}<tool_sep>\n", "</tool_call>"),
            parameter="<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n",
        ),
    )
)

FORMAT = ToolFormat(
    name="hy_v3",
    models="Hunyuan 3 (Hy3)",
    example=(
        "<tool_calls>\n<tool_call>get_weather<tool_sep>\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
        "</tool_call>\n</tool_calls>"
    ),
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=CANNOT_SAY,
)
