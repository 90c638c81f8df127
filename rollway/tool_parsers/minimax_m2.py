"""MiniMax-M2's format: ``<invoke name="...">`` with ``<parameter name="...">`` inside, in one section."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.xml_grammar import Grammar, Trim, Written
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer


def invoke_grammar(section: str, trim: Trim) -> Grammar:
    """The grammar with calls inside ``<section>``. Outside it the tags are too common to mean a call."""
    return Grammar(
        section=f"<{section}>",
        section_close=f"</{section}>",
        needs_section=True,
        call=r"""<invoke\s++name\s*+=\s*+["']?(?P<name>[^"'<>\n]*+)["']?\s*+>""",
        call_close="</invoke>",
        parameter=r"""<parameter\s++name\s*+=\s*+["']?(?P<key>[^"'<>\n]*+)["']?\s*+>""",
        parameter_close="</parameter>",
        fragments=(r"<parameter\b", r"<invoke\b"),
        trim=trim,
        written=Written(
            section=(f"<{section}>\n", f"\n</{section}>"),
            call=('<invoke name="{name}">\n', "</invoke>"),
            parameter='<parameter name="{key}">{value}</parameter>\n',
        ),
    )


_FORMAT = XmlFormat(invoke_grammar("minimax:tool_call", Trim.NOTHING))

FORMAT = ToolFormat(
    name="minimax_m2",
    aliases=("minimax-m2",),
    models="MiniMax-M2",
    example=(
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n'
        "</invoke>\n</minimax:tool_call>"
    ),
    result_tags=("<response>", "</response>"),
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=CANNOT_SAY,
)
