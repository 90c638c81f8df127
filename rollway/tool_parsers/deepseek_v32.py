"""DeepSeek-V3.2's format (DSML): invocations whose parameters say whether they are text or JSON."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.xml_grammar import Grammar, Written
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer

_SECTIONS = ("function_calls", "tool_calls", "toolcalls", "tool")


def dsml_grammar(section: str) -> Grammar:
    """The grammar with calls inside a section of this name. Models write each other's names too."""
    return Grammar(
        section=f"<｜DSML｜(?:{'|'.join(_SECTIONS)})>",
        section_close=f"</｜DSML｜{section}>",
        other_section_closes=tuple(f"</｜DSML｜{name}>" for name in _SECTIONS if name != section),
        any_bars=True,
        call=r'<｜DSML｜invoke\s++name="(?P<name>[^"<>\n]*+)"\s*+>',
        call_close="</｜DSML｜invoke>",
        parameter=(
            r'<｜DSML｜parameter\s++name="(?P<key>[^"<>\n]*+)"(?:\s++string="(?P<string>true|false)")?\s*+>'
        ),
        parameter_close="</｜DSML｜parameter>",
        fragments=(r"<｜DSML｜parameter\b", r"<｜DSML｜invoke\b"),
        written=Written(
            section=(f"<｜DSML｜{section}>\n", f"\n</｜DSML｜{section}>"),
            call=('<｜DSML｜invoke name="{name}">\n', "</｜DSML｜invoke>"),
            parameter='<｜DSML｜parameter name="{key}" string="{string}">{value}</｜DSML｜parameter>\n',
        ),
    )


_FORMAT = XmlFormat(dsml_grammar("function_calls"))

FORMAT = ToolFormat(
    name="deepseek_v32",
    aliases=("deepseekv32",),
    models="DeepSeek-V3.2",
    example=(
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
        '<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        "</｜DSML｜function_calls>"
    ),
    special_marks=True,
    result_tags=("<result>", "</result>"),
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=CANNOT_SAY,
)
