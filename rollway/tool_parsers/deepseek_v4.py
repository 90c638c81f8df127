"""DeepSeek-V4's format: DSML, in a section of its own name."""

from __future__ import annotations

from rollway.tool_parsers.deepseek_v32 import dsml_grammar
from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer

_FORMAT = XmlFormat(dsml_grammar("tool_calls"))

FORMAT = ToolFormat(
    name="deepseek_v4",
    models="DeepSeek-V4",
    example=(
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n'
        '<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        "</｜DSML｜tool_calls>"
    ),
    special_marks=True,
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=CANNOT_SAY,
)
