"""Calls as Python writes them, in brackets and without a tag: Llama 3.2, Llama 4 and ToolACE.

Brackets also stand in prose and in code. They count as calls where an answer or a line begins with them, and
elsewhere only when they are readable to the end and name a tool that was offered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.format import ToolFormat, Tools
from rollway.tool_parsers.items import Item, settle_list
from rollway.tool_parsers.json_calls import Fault
from rollway.tool_parsers.output import ParsedOutput
from rollway.tool_parsers.pythonic_calls import CANNOT_SAY, NAME, CallReader, CallTags, write_list
from rollway.tool_parsers.rendering import after_content
from rollway.trajectory import ToolCall

_LIST = rf"\[\s*+(?P<name>{NAME})\s*+\("
_NO_TAGS = CallTags()
_LOOK_BACK = 100  # characters of white space that may stand before a list on its line


class BareLists:
    """Lists of calls without a tag of their own. ``opening`` and ``closing`` may stand around them."""

    def __init__(self, opening: str = "", closing: str = "") -> None:
        self._tags = CallTags(opening, closing)
        tag = rf"(?P<tag>{re.escape(opening)}\s*+)(?=\[)|" if opening else "(?P<tag>(?!))|"
        self._start = re.compile(f"{tag}{_LIST}")

    def parse(self, text: str, tools: Tools, lenient: bool) -> ParsedOutput:
        """See `ToolParser.parse`. There is nothing to be lenient about: Python has no second spelling."""
        draft = Draft(text)
        reader = CallReader(text, self._tags)
        offered = {str(tool.get("function", {}).get("name", "")) for tool in tools}
        position = 0
        while (match := draft.search(self._start, position)) is not None:
            start, tagged = match.start(), match["tag"] is not None
            known = tagged or not offered or match["name"] in offered
            if tagged or _begins(text, start, known):
                items, position = reader.read(match.end("tag") if tagged else start)
                settle_list(draft, start, position, items)
            else:
                position = _read_in_line(draft, start) if known else match.end()
        return draft.finish(position)


def _read_in_line(draft: Draft, start: int) -> int:
    """A list in the middle of a line: calls if all of it can be read there, else words like the others."""
    newline = draft.text.find("\n", start)
    line = draft.text[start : newline if newline >= 0 else len(draft.text)]
    items, end = CallReader(line, _NO_TAGS).read(0)
    if any(isinstance(item.found, Fault) for item in items):
        return start + len(line)
    moved = [Item(start + item.start, start + item.end, item.found) for item in items]
    settle_list(draft, start, start + end, moved)
    return start + end


def _begins(text: str, start: int, known: bool) -> bool:
    """Whether an answer begins at ``start``, or a line of it if the tool is known."""
    before = text[max(0, start - _LOOK_BACK) : start]
    words = before.rstrip()
    if not words:
        return start <= _LOOK_BACK or known
    return words.endswith("</think>") or (known and "\n" in before[len(words) :])


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    return after_content(content, write_list(calls) if calls else "")


FORMAT = ToolFormat(
    name="pythonic",
    models="Llama 3.2 with the Python template, ToolACE, and other models that write calls as Python",
    example="[get_weather(city='Oslo')]",
    parse=BareLists().parse,
    render=_render,
    cannot_say=CANNOT_SAY,
)
