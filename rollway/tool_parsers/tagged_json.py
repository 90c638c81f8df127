"""The family of formats that write calls as JSON behind a tag: ``<tool_call>{...}</tool_call>``.

Behind the tag stands one call or a list of calls. What holds a call is cut out of the content; what was
meant as one and is none stays there, to the letter.
"""

from __future__ import annotations

import re

from rollway.tool_parsers.draft import THINK, Draft
from rollway.tool_parsers.format import Tools
from rollway.tool_parsers.json_blocks import BlockReader, ItemReader, JsonTags, read_named
from rollway.tool_parsers.json_calls import read_plain_call
from rollway.tool_parsers.json_values import skip_space
from rollway.tool_parsers.output import ParsedOutput


class TaggedJson:
    """A format's tags, and the way its items are read. ``closing`` is "" where a block ends with its JSON."""

    def __init__(
        self,
        *openings: str,
        closing: str = "",
        lookahead: str = "",
        read_item: ItemReader = read_named,
        thought: re.Pattern[str] | None = THINK,
    ) -> None:
        self.tags = JsonTags(openings, [closing] if closing else [], lookahead=lookahead)
        self.read_item = read_item
        self.thought = thought
        self._opening = openings[0] if len(openings) == 1 and not lookahead else ""
        self._plain = read_item is read_named and bool(self._opening and closing)

    def parse(self, text: str, tools: Tools, lenient: bool) -> ParsedOutput:
        """See `ToolParser.parse`."""
        draft = Draft(text, self.thought)
        return draft.finish(self.read_blocks(draft, lenient))

    def read_blocks(self, draft: Draft, lenient: bool) -> int:
        """Tell the draft of every block; return the end of the last."""
        position = self._read_plain_blocks(draft) if self._plain else 0
        reader: BlockReader | None = None
        while (span := self._next_opening(draft, position)) is not None:
            start, body = span
            if reader is None:
                reader = BlockReader(self.tags, draft, self.read_item, lenient)
            while again := self.tags.opening.match(draft.text, skip_space(draft.text, body)):
                body = again.end()  # a tag written twice opens one block
            position = reader.read(start, body)
        return position

    def _read_plain_blocks(self, draft: Draft) -> int:
        """A short cut for texts that hold nothing but the commonest block, up to the first other one."""
        text, opening, closing = draft.text, self._opening, self.tags.closings[0]
        position = 0
        while (start := draft.find(opening, position)) >= 0:
            body = start + len(opening)
            close = text.find(closing, body)
            if close < 0 or 0 <= text.find(opening, body) < close:
                break
            call = read_plain_call(text[body:close])
            if call is None:
                break
            position = close + len(closing)
            draft.call(start, position, call.name, call.arguments, id=call.id)
        return position

    def _next_opening(self, draft: Draft, position: int) -> tuple[int, int] | None:
        if self._opening:
            start = draft.find(self._opening, position)
            return (start, start + len(self._opening)) if start >= 0 else None
        match = draft.search(self.tags.opening, position)
        return match.span() if match else None
