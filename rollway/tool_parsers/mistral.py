"""The formats of Mistral: a list of calls, or a name and its arguments, behind ``[TOOL_CALLS]``.

The tag stands before the list, or before each name; ``[ARGS]`` and ``[CALL_ID]`` are later inventions.
Mistral's templates refuse ids that are not nine letters or digits, so those are made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rollway.tool_parsers.draft import Draft, IdForm
from rollway.tool_parsers.format import ToolFormat, Tools
from rollway.tool_parsers.json_blocks import BlockReader, JsonTags, read_named
from rollway.tool_parsers.json_values import skip_space
from rollway.tool_parsers.named_json import named
from rollway.tool_parsers.output import ParsedOutput
from rollway.tool_parsers.rendering import after_content, argument_json, plain_name
from rollway.trajectory import ToolCall

_OPENING = "[TOOL_CALLS]"
_TAGS = JsonTags([_OPENING])
_THOUGHT = re.compile(r"[\[<](?:(THINK\]|think>)|/(?:THINK\]|think>))")
_HEADER = re.compile(
    r"\s*+(?P<name>[^\[\]{}\"'\n]++)(?:\[CALL_ID\](?P<id>[^\[{\n]*+))?(?:\[ARGS\]\s*+(?=\S)|(?=\{))"
)
_SHORT_ID = IdForm(prefix="", digits=9)


def _parse(text: str, tools: Tools, lenient: bool) -> ParsedOutput:
    draft = Draft(text, _THOUGHT, id_form=_SHORT_ID)
    reader = BlockReader(_TAGS, draft, read_named, lenient)
    position = 0
    while (start := draft.find(_OPENING, position)) >= 0:
        body = start + len(_OPENING)
        while text.startswith(_OPENING, again := skip_space(text, body)):
            body = again + len(_OPENING)  # a tag written twice opens one block
        header = _HEADER.match(text, body)
        if header is None:
            position = reader.read(start, body)
        else:
            item = named(header["name"].strip(), (header["id"] or "").strip())
            position = reader.read_one(start, header.end(), item)
    return draft.finish(position)


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    blocks = [f"{_OPENING}{plain_name(call, _FORBIDDEN)}[ARGS]{argument_json(call)}" for call in calls]
    return after_content(content, "".join(blocks), "")


_FORBIDDEN = "[]{}\"'"

FORMAT = ToolFormat(
    name="mistral",
    models="Mistral, Mixtral, Ministral, Codestral, Devstral and Magistral with tools, all generations",
    example='[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}',
    special_marks=True,
    result_tags=("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    parse=_parse,
    render=_render,
    cannot_say="A name with a line break, a bracket, a brace or a quote.",
)
