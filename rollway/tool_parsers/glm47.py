"""GLM-4.7's format: GLM-4.5's, without the line breaks."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.glm45 import pairs_grammar
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.tool_parsers.xml_render import CANNOT_SAY, XmlRenderer

_FORMAT = XmlFormat(pairs_grammar(""))

FORMAT = ToolFormat(
    name="glm47",
    aliases=("ling3",),
    models="GLM-4.7, GLM-5, Ling 3",
    example="<tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>",
    parse=_FORMAT.parse,
    render=XmlRenderer(_FORMAT),
    cannot_say=CANNOT_SAY,
)
