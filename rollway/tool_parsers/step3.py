"""Step-3's format: a wrapped ``<steptml:invoke>`` for each call; white space around values means nothing."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.xml_grammar import Grammar, Trim, Written
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer

_FORMAT = XmlFormat(
    Grammar(
        section="<｜tool_calls_begin｜>",
        section_close="<｜tool_calls_end｜>",
        any_bars=True,
        wrapper=r"<｜tool_call_begin｜>(?:\s*+function\s*+<｜tool_sep｜>)?",
        wrapper_close="<｜tool_call_end｜>",
        call=r'<steptml:invoke\s++name="(?P<name>[^"<>\n]*+)"\s*+>',
        call_close="</steptml:invoke>",
        parameter=r'<steptml:parameter\s++name="(?P<key>[^"<>\n]*+)"\s*+>',
        parameter_close="</steptml:parameter>",
        fragments=(r"<steptml:parameter\b", r"<steptml:invoke\b"),
        trim=Trim.ALL,
        written=Written(
            section=("<｜tool_calls_begin｜>\n", "\n<｜tool_calls_end｜>"),
            call=(
                '<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="{name}">\n',
                "</steptml:invoke><｜tool_call_end｜>",
            ),
            parameter='<steptml:parameter name="{key}">{value}</steptml:parameter>\n',
        ),
    )
)

FORMAT = ToolFormat(
    name="step3",
    models="Step-3",
    example=(
        "<｜tool_calls_begin｜>\n<｜tool_call_begin｜>function<｜tool_sep｜>"
        '<steptml:invoke name="get_weather">\n<steptml:parameter name="city">Oslo</steptml:parameter>\n'
        "</steptml:invoke><｜tool_call_end｜>\n"
        "<｜tool_calls_end｜>"
    ),
    special_marks=True,
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=f"{CANNOT_SAY} White space at the ends of a string is lost.",
)
