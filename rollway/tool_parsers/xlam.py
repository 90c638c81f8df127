"""The format of xLAM: a list of calls as it is, in a fence of Markdown, or behind one of two tags."""

from __future__ import annotations

import re

from rollway.tool_parsers.bare_json import FIRST_KEY, Finding, judge
from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.format import ToolFormat, Tools
from rollway.tool_parsers.json_blocks import BlockReader, JsonTags, read_named
from rollway.tool_parsers.output import ParsedOutput
from rollway.tool_parsers.rendering import one_list

_OBJECT = re.compile(r"\[\s*+")
_START = re.compile(
    rf"(?P<tag><tool_call>)|(?P<mark>\[TOOL_CALLS\])"
    rf"|(?P<fence>```(?:json)?\s*+)(?=\[\s*+{FIRST_KEY})|(?P<bare>)(?=\[\s*+{FIRST_KEY})"
)
_TAGS = {
    "tag": JsonTags(["<tool_call>"], ["</tool_call>"]),
    "mark": JsonTags(["[TOOL_CALLS]"]),
    "fence": JsonTags([], ["```"]),
    "bare": JsonTags([]),
}


def _parse(text: str, tools: Tools, lenient: bool) -> ParsedOutput:
    draft = Draft(text)
    readers = {kind: BlockReader(tags, draft, read_named, lenient) for kind, tags in _TAGS.items()}
    position = 0
    while (match := draft.search(_START, position)) is not None:
        kind = match.lastgroup or ""
        if kind in ("fence", "bare"):
            position = _read_bare(draft, readers[kind], match, _TAGS[kind])
        else:
            position = readers[kind].read(match.start(), match.end())
    return draft.finish(position)


def _read_bare(draft: Draft, reader: BlockReader, match: re.Match[str], tags: JsonTags) -> int:
    opening = _OBJECT.match(draft.text, match.end())
    if opening is None:
        return match.end()
    found = judge(draft.text, opening.end(), tags.scanner)
    if found.finding is Finding.DATA:
        return found.end
    return reader.read(match.start(), match.end())


FORMAT = ToolFormat(
    name="xlam",
    models="xLAM 2 and other Salesforce action models",
    example='[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    parse=_parse,
    render=one_list("", ""),
)
