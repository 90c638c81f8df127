"""GLM-4.5's format: the name, then pairs of ``<arg_key>`` and ``<arg_value>``, each on a line of its own."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.xml_grammar import Grammar, Written
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer


def pairs_grammar(newline: str) -> Grammar:
    """The grammar of both generations; they differ in what they write between the tags."""
    return Grammar(
        call="<tool_call>",
        call_close="</tool_call>",
        parameter=r"<arg_key>(?P<key>[^<]*+)</arg_key>\s*+<arg_value>",
        parameter_close="</arg_value>",
        fragments=("<arg_key>", "<arg_value>"),
        written=Written(
            call=(f"<tool_call>{{name}}{newline}", "</tool_call>"),
            parameter=f"<arg_key>{{key}}</arg_key>{newline}<arg_value>{{value}}</arg_value>{newline}",
            between_calls=newline,
        ),
    )


_FORMAT = XmlFormat(pairs_grammar("\n"))

FORMAT = ToolFormat(
    name="glm45",
    aliases=("glm",),
    models="GLM-4.5, GLM-4.6",
    example="<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>",
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=CANNOT_SAY,
)
