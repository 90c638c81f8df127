"""What has been found so far in one text, and how content, calls and errors come out of it.

Content is the text without the spans of calls and markers. What is rejected is never cut out, so nothing
that the model wrote is lost; and no call that stands inside a finished thought comes out.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from rollway.tool_parsers.output import ParsedOutput, ParseError, ParseErrorKind
from rollway.trajectory import ToolCall

THINK = re.compile(r"<(?:(think)|/think)>")
"""Tags of a thought; group 1 is the one that opens."""


class IdForm(NamedTuple):
    """How ids are made for calls that the model gave none."""

    prefix: str = "call_"
    digits: int = 24  # hexadecimal, 9 to 24
    by_name: bool = False  # ``functions.NAME:N``, as Kimi's; the other two then count for nothing


CALL_ID = IdForm()


class Draft:
    """A text being read from left to right.

    Look for the next block with `find` or `search`, which pass over finished thoughts, then say what the
    block was with `call`, `reject` or `drop`. Spans do not overlap; calls come in order. `finish` ends it.

    A thought that is opened and never closed hides nothing: the call ends it, as it does for the reasoning
    parsers of the servers. A closing tag with no opening tag before it ends a thought that the prompt had
    opened, so what stood before it is taken back.
    """

    __slots__ = (
        "_calls",
        "_cursor",
        "_cuts",
        "_errors",
        "_id_form",
        "_kept_from",
        "_seen_thought",
        "_tag",
        "_tags",
        "text",
    )

    def __init__(
        self, text: str, thought: re.Pattern[str] | None = THINK, *, id_form: IdForm = CALL_ID
    ) -> None:
        self.text = text
        self._id_form = id_form
        self._calls: list[tuple[str, str, str, bool]] = []  # id, name, arguments, repaired
        self._errors: list[ParseError] = []
        self._cuts: list[tuple[int, int, bool]] = []  # start, end, whether it is a call
        self._kept_from = 0  # what stands before it is a thought that was taken back
        self._cursor = 0  # thought tags before it are settled
        self._seen_thought = False
        self._tag = 0
        self._tags = _thought_tags(text, thought)

    def find(self, tag: str, position: int) -> int:
        """Where ``tag`` next stands outside a thought, from the end of the last block on; -1 if nowhere."""
        start = self.text.find(tag, position)
        if not self._tags:
            return start
        while start >= 0:
            visible = self._past_thoughts(position, start)
            if visible == start:
                return start
            position = visible
            start = self.text.find(tag, position)
        return start

    def search(self, pattern: re.Pattern[str], position: int) -> re.Match[str] | None:
        """Like `find`, for a pattern."""
        match = pattern.search(self.text, position)
        if not self._tags:
            return match
        while match is not None:
            visible = self._past_thoughts(position, match.start())
            if visible == match.start():
                return match
            position = visible
            match = pattern.search(self.text, position)
        return match

    def call(
        self, start: int, end: int, name: str, arguments: str, *, id: str = "", repaired: bool = False
    ) -> None:
        """The block ``text[start:end]`` is a call. ``id`` is the model's own, if it wrote one."""
        self._calls.append((id, name, arguments, repaired))
        self._cuts.append((start, end, True))

    def reject(self, start: int, end: int, kind: ParseErrorKind, message: str, *, name: str = "") -> None:
        """The block ``text[start:end]`` was meant as a call and is none. It stays in the content."""
        self._errors.append(ParseError(kind, self.text[start:end], start, message, name))

    def drop(self, start: int, end: int) -> None:
        """``text[start:end]`` belongs to the format: a marker or a separator, not the model's words.

        May come later than the calls behind it: whether a marker counts can depend on what it marks.
        """
        if start >= self._kept_from or (start, end) == (0, self._kept_from):
            self._cuts.append((start, end, False))

    def take_back(self, end: int) -> None:
        """``text[:end]`` was a thought that the prompt had opened: forget what was found in it."""
        self._kept_from = end
        self._calls.clear()
        self._errors.clear()
        self._cuts.clear()

    @property
    def call_count(self) -> int:
        """Calls found so far."""
        return len(self._calls)

    def finish(self, position: int | None = None) -> ParsedOutput:
        """The result. ``position`` is the end of the last block; thought tags before it are not looked at."""
        if self._tags:
            self._past_thoughts(self._last_end() if position is None else position, len(self.text))
        repaired = [index for index, call in enumerate(self._calls) if call[3]]
        return ParsedOutput(self._content(), self._with_ids(), self._errors, repaired)

    def _last_end(self) -> int:
        ends = [self._cuts[-1][1]] if self._cuts else [0]
        if self._errors:
            ends.append(self._errors[-1].position + len(self._errors[-1].raw))
        return max(ends)

    def _past_thoughts(self, position: int, start: int) -> int:
        """``start``, or the end of the thought around it. Tags before ``position`` stand in blocks."""
        position = max(position, self._cursor)
        tags = self._tags
        while self._tag < len(tags):
            tag_start, tag_end, opens = tags[self._tag]
            if tag_start < position:
                self._tag += 1
            elif tag_start >= start:
                break
            elif not opens:
                if not self._seen_thought:
                    self.take_back(tag_end)
                self._seen_thought = True
                self._tag += 1
                position = tag_end
            else:
                close = self._next_closing()
                if close is None:
                    break
                self._seen_thought = True
                position = close
                if close > start:
                    break
        self._cursor = position
        return max(position, start)

    def _next_closing(self) -> int | None:
        """Step past the next closing tag and give its end; None if there is none."""
        for index in range(self._tag, len(self._tags)):
            if not self._tags[index][2]:
                self._tag = index + 1
                return self._tags[index][1]
        self._tag = len(self._tags)
        return None

    def _content(self) -> str | None:
        text = self.text
        if not self._cuts:
            return text if text and not text.isspace() else None
        pieces: list[str] = []
        after_call = False  # whether the first piece stands behind a call
        at = 0
        seen_call = False
        self._cuts.append((len(text), len(text), False))
        for start, end, is_call in sorted(self._cuts):
            if start > at and not (piece := text[at:start]).isspace():
                after_call = after_call or (not pieces and seen_call)
                pieces.append(piece)
            at = max(at, end)
            seen_call = seen_call or is_call
        if len(pieces) == 1 and not after_call:
            return pieces[0]  # to the letter, so that a template can write the turn as it was
        return "\n".join(piece.strip() for piece in pieces) or None

    def _with_ids(self) -> list[ToolCall]:
        if not self._calls:
            return []
        if self._id_form.by_name:
            return self._with_counted_ids()
        fresh = _fresh_ids(self.text, self._id_form)
        taken = {call[0] for call in self._calls}
        if taken == {""}:
            return [ToolCall(next(fresh), name, arguments) for _, name, arguments, _ in self._calls]
        used: set[str] = set()
        made = []
        for own, name, arguments, _ in self._calls:
            call_id = own
            while not call_id or call_id in used or (call_id in taken and call_id != own):
                call_id = next(fresh)
            used.add(call_id)
            made.append(ToolCall(call_id, name, arguments))
        return made

    def _with_counted_ids(self) -> list[ToolCall]:
        used = {call[0] for call in self._calls}
        made, given = [], set[str]()
        for own, name, arguments, _ in self._calls:
            call_id = own
            if not call_id or call_id in given:
                numbers = itertools.count(len(given))
                call_id = next(it for n in numbers if (it := f"functions.{name}:{n}") not in used)
            used.add(call_id)
            given.add(call_id)
            made.append(ToolCall(call_id, name, arguments))
        return made


def _thought_tags(text: str, thought: re.Pattern[str] | None) -> list[tuple[int, int, bool]]:
    """Start, end and "opens" of each tag; empty when no thought is finished, as then nothing is hidden."""
    if thought is None or (thought is THINK and "think>" not in text) or not thought.search(text):
        return []
    tags = [(match.start(), match.end(), match.lastindex == 1) for match in thought.finditer(text)]
    return [] if all(opens for _, _, opens in tags) else tags


def _fresh_ids(text: str, form: IdForm) -> Iterator[str]:
    """Ids that depend on the text alone, no two alike."""
    digits = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    first, rest = int(digits[:9], 16), digits[9 : form.digits]
    for number in itertools.count(first):
        yield f"{form.prefix}{number & 0xFFFFFFFFF:09x}{rest}"
