"""The JSON format of Llama 3 and 4: an object as it is, or behind ``<|python_tag|>``; several with ``;``."""

from __future__ import annotations

import re

from rollway.tool_parsers.bare_json import FIRST_KEY, Finding, judge
from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.format import ToolFormat, Tools
from rollway.tool_parsers.items import settle
from rollway.tool_parsers.json_blocks import BlockReader, JsonTags, read_named
from rollway.tool_parsers.json_values import skip_space
from rollway.tool_parsers.output import ParsedOutput
from rollway.tool_parsers.rendering import each_call

_TAG = "<|python_tag|>"
_TAGS = JsonTags([_TAG])
_START = re.compile(rf"(?P<tag>{re.escape(_TAG)})|(?={FIRST_KEY})")
_NEXT_LINE = re.compile(rf"[;\n]\s*+(?={FIRST_KEY})|{re.escape(_TAG)}")
_SEPARATOR = re.compile(rf"\s*+;\s*+(?=\{{|\Z|{re.escape(_TAG)})")


def _parse(text: str, tools: Tools, lenient: bool) -> ParsedOutput:
    draft = Draft(text)
    reader = BlockReader(_TAGS, draft, read_named, lenient)
    position = 0
    while (match := draft.search(_START, position)) is not None:
        start, body = match.start(), skip_space(text, match.end())
        calls = draft.call_count
        position = reader.read(start, body) if match["tag"] else _read_bare(draft, start, lenient)
        if draft.call_count > calls and (separator := _SEPARATOR.match(text, position)):
            draft.drop(*separator.span())
            position = separator.end()
    return draft.finish(position)


def _read_bare(draft: Draft, start: int, lenient: bool) -> int:
    found = judge(draft.text, start, _TAGS.scanner)
    if found.finding is Finding.CALL:
        settle(draft, start, found.end, read_named(draft.text[start : found.end], lenient))
    if found.finding is not Finding.BROKEN:
        return found.end
    following = _NEXT_LINE.search(draft.text, found.end)
    end = following.start() if following else len(draft.text)
    draft.reject(start, end, found.fault.kind, found.fault.message)
    return end


FORMAT = ToolFormat(
    name="llama3_json",
    aliases=("llama4_json",),
    models="Llama 3.1, 3.2 and 3.3; Llama 4 with the JSON template",
    example='{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    parse=_parse,
    render=each_call("", "", separator="; ", arguments_key="parameters"),
)
