"""One block of JSON calls in a text, and where it ends, whether it is well-formed or not.

A well-formed block is read whole. Any other is scanned: each item counts for itself, a closing tag may be
missing, and what nobody can read is rejected up to the place where the next thing can begin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.items import Item, settle, settle_list
from rollway.tool_parsers.json_calls import NOT_JSON, UNCLOSED, Call, Fault, read_call, read_items
from rollway.tool_parsers.json_lenient import read_lenient
from rollway.tool_parsers.json_values import (
    Ending,
    JsonScanner,
    NextMatch,
    Scan,
    any_of,
    is_cut_tag,
    skip_space,
)

ItemReader = Callable[[str, bool], list[Call] | Fault]
"""``(JSON text of one item, lenient) -> its calls``, or the one reason why it has none."""


def read_named(source: str, lenient: bool) -> list[Call] | Fault:
    """The usual item: an object with the call's name and arguments."""
    call = read_call(source, lenient=lenient)
    return call if isinstance(call, Fault) else [call]


class JsonTags:
    """The tags around blocks of JSON, compiled.

    ``fence`` is a mark that may stand between the JSON and the closing tag. ``others`` are further tags that
    JSON holds in strings only. ``lookahead`` is a pattern without which an opening is only a word.
    """

    __slots__ = ("bounded", "closing", "closings", "fence", "opening", "scanner")

    def __init__(
        self,
        openings: Sequence[str],
        closings: Sequence[str] = (),
        *,
        fence: str = "",
        others: Sequence[str] = (),
        lookahead: str = "",
    ) -> None:
        self.opening = re.compile(f"(?:{any_of(openings)}){lookahead}")
        self.closing = re.compile(any_of(closings))
        self.closings = tuple(closings)
        self.fence = fence
        self.bounded = bool(openings or closings)  # else the rest of the text would be one block
        self.scanner = JsonScanner([*openings, *closings, *others])


class BlockReader:
    """Reads the blocks of one text, in order."""

    def __init__(self, tags: JsonTags, draft: Draft, read_item: ItemReader, lenient: bool) -> None:
        self._tags = tags
        self._draft = draft
        self._text = draft.text
        self._read_item = read_item
        self._lenient = lenient
        self._openings = NextMatch(draft.text, tags.opening)
        self._closings = NextMatch(draft.text, tags.closing)

    def read(self, start: int, body: int) -> int:
        """The block that opens at ``start`` and whose JSON stands from ``body`` on: its end."""
        value = skip_space(self._text, body)
        if self._text.startswith("[", value):
            return self._read_whole_list(start, value) or self._read_list(start, value + 1)
        if self._text.startswith("{", value):
            return self.read_one(start, value, self._read_item)
        return self._read_no_object(start, value)

    def read_one(self, start: int, value: int, read_item: ItemReader) -> int:
        """The block that opens at ``start`` and whose one item stands at ``value``: its end."""
        whole = self._enclosed(value)
        if whole is not None:
            found = read_item(whole[0], False)
            if not isinstance(found, Fault):
                settle(self._draft, start, whole[1], found)
                return whole[1]
        scan = self._tags.scanner.scan(self._text, value)
        for item_end in self._item_ends(value, scan):
            end = self._end_after(item_end)
            if end is not None:
                settle(self._draft, start, end, read_item(self._text[value:item_end], self._lenient))
                return end
        fault, end = self._unreadable(value, scan)
        settle(self._draft, start, end, fault)
        return end

    def _read_no_object(self, start: int, value: int) -> int:
        """A block without a call, up to its own tag or the next block's."""
        close, opening = self._closings.find(value), self._openings.find(value)
        if close >= 0 and not 0 <= opening < close:
            end = self._past_closing(close)
            settle(self._draft, start, end, self._item(value, close))
            return end
        end = opening if opening >= 0 else len(self._text)
        settle(self._draft, start, end, UNCLOSED if self._tags.closings or value >= end else NOT_JSON)
        return end

    def _enclosed(self, value: int) -> tuple[str, int] | None:
        """What stands between ``value`` and the end of its block, and that end, where no tag is in between.

        A short cut: if it is readable, it is the whole block; if not, the block has to be read with care.
        """
        text, closings = self._text, self._tags.closings
        opening = self._openings.find(value)
        if not self._tags.bounded:
            return None
        if closings:
            close = self._closings.find(value)
            if close < 0 or 0 <= opening < close:
                return None
            return text[value:close].rstrip().removesuffix(self._tags.fence), self._past_closing(close)
        end = opening if opening >= 0 else len(text)
        source = text[value:end].rstrip()
        return (source, value + len(source)) if source.endswith(("}", "]")) else None

    def _item_ends(self, start: int, scan: Scan) -> Iterator[int]:
        """Where the value at ``start`` may end: as what is nearly JSON, and as JSON."""
        nearly = read_lenient(self._text, start) if scan.single_quotes else None
        if nearly is not None:
            yield nearly[1]
        if scan.ending is Ending.COMPLETE:
            yield scan.end

    def _item(self, start: int, end: int) -> list[Call] | Fault:
        return self._read_item(self._text[start:end], self._lenient)

    def _end_after(self, position: int) -> int | None:
        """The end of a block whose JSON ends at ``position``; None when more stands before the closing tag.

        The closing tag may be missing, or be cut short by the end of the text.
        """
        if not self._tags.closings:
            return position
        tag = skip_space(self._text, position)
        if self._tags.fence and self._text.startswith(self._tags.fence, tag):
            position = tag + len(self._tags.fence)
            tag = skip_space(self._text, position)
        if closed := self._tags.closing.match(self._text, tag):
            return closed.end()
        if is_cut_tag(self._text, tag, self._tags.closings):
            return len(self._text)
        close, opening = self._closings.find(tag), self._openings.find(tag)
        return position if close < 0 or 0 <= opening < close else None

    def _unreadable(self, value: int, scan: Scan) -> tuple[Fault, int]:
        """The fault of something at ``value`` that nobody can read, and where its block ends."""
        if scan.ending is Ending.TAG and not self._tags.closing.match(self._text, scan.end):
            return UNCLOSED, scan.end
        close = self._closings.find(scan.end)
        opening = self._openings.find(scan.end)
        if self._text[value : value + 1] not in ("{", "[", '"') and opening >= 0 and not 0 <= close < opening:
            return UNCLOSED, opening  # what is no JSON at all quotes no tags
        if close >= 0:
            return NOT_JSON, self._past_closing(close)
        end = len(self._text) if opening < 0 or scan.ending is Ending.TEXT_END else opening
        never_closed = not self._tags.closings and scan.ending is Ending.BROKEN
        return NOT_JSON if never_closed else UNCLOSED, end

    def _is_opening(self, position: int) -> bool:
        return self._tags.opening.match(self._text, position) is not None

    def _past_closing(self, position: int) -> int:
        closed = self._tags.closing.match(self._text, position)
        return closed.end() if closed else position

    def _read_whole_list(self, start: int, value: int) -> int:
        """A short cut for a list in which all is well: the end of its block, or 0."""
        whole = self._enclosed(value)
        sources = read_items(whole[0]) if whole is not None else None
        if whole is None or not sources:
            return 0
        calls: list[Call] = []
        for source in sources:
            found = self._read_item(source, False)
            if isinstance(found, Fault):
                return 0
            calls.extend(found)
        settle(self._draft, start, whole[1], calls)
        return whole[1]

    def _read_list(self, start: int, position: int) -> int:
        """A list whose first item is expected at ``position``. Each item counts for itself."""
        text = self._text
        items: list[Item] = []
        while True:
            position = skip_space(text, position)
            first = text[position : position + 1]
            if first == "," and items:
                position += 1
            elif first == "]":
                end = self._end_after(position + 1)
                if end is None:
                    end = self._past_closing(self._closings.find(position + 1))
                    items.append(Item(position + 1, end, NOT_JSON))
                break
            elif not first or self._tags.closing.match(text, position) or self._is_opening(position):
                end = self._past_closing(position)  # the list's own bracket is missing
                break
            else:
                items.append(self._list_item(position))
                position = items[-1].end
                if items[-1].last:
                    end = position
                    break
        settle_list(self._draft, start, end, items)
        return end

    def _list_item(self, start: int) -> Item:
        """The item at ``start``; the rest of the block where it cannot be told where the item ends."""
        scan = self._tags.scanner.scan(self._text, start)
        if self._text.startswith("{", start):
            end = next(self._item_ends(start, scan), None)
            if end is not None:
                return Item(start, end, self._item(start, end))
        elif scan.ending is Ending.COMPLETE:
            found = self._item(start, scan.end)
            if isinstance(found, Fault):
                return Item(start, self._unreadable(start, scan)[1], found, last=True)
        fault, block_end = self._unreadable(start, scan)
        return Item(start, block_end, fault, last=True)
