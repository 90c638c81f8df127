"""The format of Apertus: a list of objects, each with the tool's name for its key."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.json_calls import Call, Fault, read_arguments, read_fields
from rollway.tool_parsers.output import ParseErrorKind
from rollway.tool_parsers.rendering import after_content, argument_json, quote
from rollway.tool_parsers.tagged_json import TaggedJson
from rollway.trajectory import ToolCall

_THOUGHT = re.compile(r"<(?:(\|inner_prefix\||think)|\|inner_suffix\||/think)>")
_NO_NAME = Fault(
    ParseErrorKind.MISSING_NAME,
    'The call has no name. Write {"name of the tool": {arguments}} for each call.',
)


def _read_item(source: str, lenient: bool) -> list[Call] | Fault:
    fields, repaired = read_fields(source, lenient)
    if isinstance(fields, Fault):
        return fields
    calls = []
    for name, arguments in fields.items():
        call = read_arguments(name, arguments)
        if isinstance(call, Fault):
            return call
        calls.append(call._replace(repaired=repaired))
    return calls or _NO_NAME


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    items = ", ".join(f"{{{quote(call.name)}: {argument_json(call)}}}" for call in calls)
    return after_content(content, f"<|tools_prefix|>[{items}]<|tools_suffix|>" if calls else "")


FORMAT = ToolFormat(
    name="apertus",
    models="Apertus 8B and 70B Instruct",
    example='<|tools_prefix|>[{"get_weather": {"city": "Oslo"}}]<|tools_suffix|>',
    special_marks=True,
    parse=TaggedJson(
        "<|tools_prefix|>", closing="<|tools_suffix|>", read_item=_read_item, thought=_THOUGHT
    ).parse,
    render=_render,
)
