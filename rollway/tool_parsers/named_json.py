"""The family of formats that write a call's name in a header and its arguments as JSON behind it.

Calls stand in sections. The marks of a section are cut out of the content when it holds a call; otherwise
the whole of it stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rollway.tool_parsers.draft import CALL_ID, THINK, Draft, IdForm
from rollway.tool_parsers.format import Tools
from rollway.tool_parsers.json_blocks import BlockReader, ItemReader, JsonTags
from rollway.tool_parsers.json_calls import UNCLOSED, Call, Fault, read_arguments
from rollway.tool_parsers.json_values import NextTag, is_cut_tag, skip_space
from rollway.tool_parsers.output import ParsedOutput, ParseErrorKind

NameReader = Callable[[re.Match[str]], tuple[str, str]]
"""``header -> (name, id)``; id is "" where the model wrote none."""

_NO_HEADER = Fault(ParseErrorKind.MALFORMED, "The call's name cannot be read: the mark behind it is missing.")


def name_group(header: re.Match[str]) -> tuple[str, str]:
    """The usual header: the name is the group ``name``, and there is no id."""
    return header["name"].strip(), ""


def named(name: str, id: str) -> ItemReader:
    """Reads the arguments of a call whose name is known."""

    def read(source: str, lenient: bool) -> list[Call] | Fault:
        call = read_arguments(name, source, lenient=lenient, id=id)
        return call if isinstance(call, Fault) else [call]

    return read


class NamedJson:
    """A format's tags. ``header`` matches what stands between ``opening`` and the JSON."""

    def __init__(
        self,
        *,
        section: tuple[str, str],
        opening: str,
        header: str,
        closing: str,
        fence: str = "",
        read_name: NameReader = name_group,
        id_form: IdForm = CALL_ID,
    ) -> None:
        self._id_form = id_form
        self._opening = opening
        self._closing = closing
        self._section_end = section[1]
        self._header = re.compile(header)
        self._read_name = read_name
        self._tags = JsonTags([opening], [closing], fence=fence, others=section)
        self._near = re.compile("|".join(map(_nearly, (section[0], opening))))
        self._other_marks = (
            f"The marks of this call are not those of the format, so it was not made. "
            f"Write {opening!r} before it and {closing!r} behind it, to the letter."
        )
        self._marks = re.compile(
            rf"(?P<begin>{re.escape(section[0])})|(?P<end>{re.escape(section[1])})|(?P<call>{re.escape(opening)})"
        )

    def parse(self, text: str, tools: Tools, lenient: bool) -> ParsedOutput:
        """See `ToolParser.parse`."""
        draft = Draft(text, THINK, id_form=self._id_form)
        reader = BlockReader(self._tags, draft, named("", ""), lenient)
        closings = NextTag(text, self._closing)
        section = _Section(draft)
        position = 0
        while (mark := draft.search(self._marks, position)) is not None:
            position = mark.end()
            if mark.lastgroup == "call":
                position = self._read_call(draft, reader, closings, mark)
            elif mark.lastgroup == "begin":
                section.close()
                section.add(*mark.span())
            else:
                section.add(*mark.span())
                section.close()
        if is_cut_tag(text, skip_space(text, position), [self._section_end]):
            section.add(position, len(text))
        section.close()
        if not position and self._has_bars(text) and (near := draft.search(self._near, 0)) is not None:
            draft.reject(near.start(), len(text), ParseErrorKind.MALFORMED, self._other_marks)
            position = len(text)
        return draft.finish(position)

    def _has_bars(self, text: str) -> bool:
        return "｜" in text or "|" in text

    def _read_call(self, draft: Draft, reader: BlockReader, closings: NextTag, opening: re.Match[str]) -> int:
        header = self._header.match(draft.text, opening.end())
        if header is not None:
            name, id = self._read_name(header)
            return reader.read_one(opening.start(), header.end(), named(name, id))
        close = closings.find(opening.end())
        following = self._marks.search(draft.text, opening.end())
        if close >= 0 and (following is None or close < following.start()):
            fault, end = _NO_HEADER, close + len(self._closing)
        else:
            fault, end = UNCLOSED, following.start() if following else len(draft.text)
        draft.reject(opening.start(), end, fault.kind, fault.message)
        return end


def _nearly(mark: str) -> str:
    """A pattern for a mark, and for what models make of its bars and low lines."""
    bars = re.sub(r"｜|\\\|", lambda _: r"[｜|]{1,3}+", re.escape(mark))
    return re.sub("[▁_]", "[▁_ ]", bars)


class _Section:
    """The marks around some calls, which count only if there are any."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._spans: list[tuple[int, int]] = []
        self._calls_before = 0

    def add(self, start: int, end: int) -> None:
        self._spans.append((start, end))

    def close(self) -> None:
        if self._draft.call_count > self._calls_before:
            for start, end in self._spans:
                self._draft.drop(start, end)
        self._spans.clear()
        self._calls_before = self._draft.call_count
