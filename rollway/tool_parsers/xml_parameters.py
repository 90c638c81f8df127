"""The family of formats that write calls as tags around bare values: ``<parameter=city>Oslo</parameter>``.

A value may hold anything, tags too. It ends at the first closing tag behind which the call goes on, where
parameters that open inside it have been closed; what a value quotes is never executed. Work is linear in the
text: its tags are found once, and only one value of a text is ever read twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.format import Tools
from rollway.tool_parsers.json_calls import Fault
from rollway.tool_parsers.output import ParsedOutput
from rollway.tool_parsers.schema_types import (
    Encoded,
    Schema,
    ToolSchemas,
    encode_json,
    encode_text,
    join_arguments,
    quote,
)
from rollway.tool_parsers.xml_calls import NAME, PlainCalls, RawCall, RawParameter, trimmed
from rollway.tool_parsers.xml_grammar import ENDS, OPENS, Grammar, Patterns, Tag, one_bar

_LONGEST_CUT_TAG = 60
_IN_VALUES = frozenset({Tag.PARAMETER_END, Tag.NAME_END})
_KINDS: dict[str | None, Tag] = {tag.value: tag for tag in Tag}


class XmlFormat:
    """`parse` for a format of this family."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self._patterns = Patterns(grammar)
        self._plain = PlainCalls(self._patterns)

    def parse(self, text: str, tools: Tools, lenient: bool) -> ParsedOutput:
        """See `ToolParser.parse`."""
        draft = Draft(text, self.grammar.thought)
        schemas = ToolSchemas(tools)
        reader = _Reader(draft, self._patterns, self._plain)
        for block in reader.blocks():
            fault = block.fault
            if fault is None:
                arguments = _arguments(block, schemas, lenient)
                if not isinstance(arguments, Fault):
                    draft.call(
                        block.start, block.end, block.name, arguments.json, repaired=arguments.repaired
                    )
                    continue
                fault = arguments
            draft.reject(block.start, block.end, fault.kind, fault.message, name=block.name)
        return draft.finish(reader.position)

    def holds_tag(self, text: str) -> bool:
        """Whether a tag of the format stands in a text."""
        return self._patterns.any.search(text) is not None

    def read(self, text: str) -> list[RawCall]:
        """Every block of a text, values as they stand there."""
        return list(_Reader(Draft(text, self.grammar.thought), self._patterns, self._plain).blocks())


def _arguments(call: RawCall, schemas: ToolSchemas, lenient: bool) -> Encoded | Fault:
    """The JSON object that the parameters of a call make."""
    fields: list[tuple[str, str]] = []
    repaired = False
    for parameter in call.parameters:
        value = _encode(parameter, schemas.parameter(call.name, parameter.key), lenient)
        if isinstance(value, Fault):
            return value._replace(message=f"In parameter {parameter.key!r}: {value.message}")
        fields.append((parameter.key, value.json))
        repaired = repaired or value.repaired
    return Encoded(join_arguments(fields), repaired)


def _encode(parameter: RawParameter, schema: Schema | None, lenient: bool) -> Encoded | Fault:
    if parameter.is_text is None:
        return encode_text(parameter.value, schema, lenient=lenient)
    if parameter.is_text:
        return Encoded(quote(parameter.value))
    value = encode_json(parameter.value, lenient=lenient)
    if isinstance(value, Fault) and schema and "string" in schema.types:
        return Encoded(
            quote(parameter.value)
        )  # the tag is wrong: text is wanted, and text is what stands there
    return value


class _Reader:
    """Reads the blocks of one text from left to right. `position` is the end of the last."""

    def __init__(self, draft: Draft, patterns: Patterns, plain: PlainCalls) -> None:
        self.position = 0
        self._draft = draft
        self._text = draft.text
        self._patterns = patterns
        self._plain = plain
        self._grammar = patterns.grammar
        self._tags: list[re.Match[str]] = []
        self._kinds: list[Tag | None] = []  # of the tags, and None for the end of the text
        self._seen = 0  # tags before this one stand before `position`
        self._in_section = False
        self._counts_nesting = True

    def blocks(self) -> Iterator[RawCall]:
        found = self._draft.search(self._patterns.block, 0)
        while found is not None:
            block = self._plain_block(found)
            if block is None and found.lastgroup == Tag.SECTION_END:
                self._end_section(found.start(), found.end())
            elif block is None:
                block = self._block(self._tag_at(found.start()))
            if block is not None:
                self.position = block.end
                yield block
            found = self._draft.search(self._patterns.block, self.position)
        self._drop_cut_section_end()

    def _plain_block(self, found: re.Match[str]) -> RawCall | None:
        """The call that a block holds, where it can be read without care; its section's tag is dropped."""
        start, end = found.span()
        if found.lastgroup == Tag.SECTION:
            call = self._plain.read(self._text, end)
            if call is not None:
                self._draft.drop(start, end)
                self._in_section = True
            return call
        if found.lastgroup == Tag.SECTION_END or (self._grammar.needs_section and not self._in_section):
            return None
        return self._plain.read(self._text, start)

    def _end_section(self, start: int, end: int) -> None:
        """Pass the tag that ends a section. Where none is open it is only text."""
        if self._in_section:
            self._draft.drop(start, end)
        self._in_section = False
        self.position = end

    def _tag_at(self, start: int) -> int:
        """Which tag stands at a place where one does. All tags are found when the first is asked for."""
        if not self._tags:
            self._tags = list(self._patterns.any.finditer(self._text))
            self._kinds = [*(_KINDS[tag.lastgroup] for tag in self._tags), None]
        while self._tags[self._seen].start() < start:
            self._seen += 1
        return self._seen

    def _block(self, at: int) -> RawCall | None:
        """The block that begins with a tag; None, with `position` moved on, where no call is meant."""
        first, at = at, self._last_repeat(at)
        tag, kind = self._tags[at], self._kinds[at]
        following = self._kinds[at + 1]
        if kind is Tag.SECTION and following not in (Tag.WRAPPER, Tag.CALL):
            return self._unreadable(first, at + 1, self._patterns.advice.no_call)
        if kind is Tag.SECTION:
            self._draft.drop(self._tags[first].start(), tag.end())
            self._in_section = True
        elif self._grammar.needs_section and not self._in_section:
            pass
        elif kind is Tag.CALL:
            return self._call(first, at)
        elif following is Tag.CALL and self._is_blank(tag.end(), self._tags[at + 1].start()):
            return self._call(first, at + 1)
        else:
            return self._unreadable(first, at + 1, self._patterns.advice.no_call)
        self.position = tag.end()
        return None

    def _last_repeat(self, at: int) -> int:
        """The last of the tags with which a block opens: one that is written several times opens it once."""
        kind = self._kinds[at]
        if kind is Tag.CALL and self._patterns.has_names:
            return at
        while self._kinds[at + 1] is kind and self._is_blank(
            self._tags[at].end(), self._tags[at + 1].start()
        ):
            at += 1
        return at

    def _call(self, first: int, at: int) -> RawCall:
        """The call whose block begins with one tag and whose own tag is another."""
        advice = self._patterns.advice
        name, at, position = self._name(at)
        fault = self._name_fault(name)
        parameters: list[RawParameter] = []
        keys: set[str] = set()
        while True:
            kind = self._kinds[at]
            if kind is None:
                return self._at_text_end(first, name, parameters, position, fault)
            tag = self._tags[at]
            if not self._is_blank(position, tag.start()):
                return self._unreadable(first, at, advice.stray_text, name)
            if kind in ENDS or (kind in OPENS and parameters):
                end = self._end(at, position)
                return RawCall(self._tags[first].start(), end, name, parameters, fault)
            if kind is not Tag.PARAMETER:
                return self._unreadable(first, at, advice.half_parameter, name)
            close = self._value_end(at)
            if close is None:
                return self._unreadable(first, at + 1, advice.open_value, name)
            value_end, at, position = close
            self._seen = at - 1
            key = tag["key"].strip()
            if fault is None and (not key or key in keys):
                fault = advice.repeated_key if key else advice.no_key
            keys.add(key)
            parameters.append(self._parameter(tag, key, value_end))

    def _name(self, at: int) -> tuple[str, int, int]:
        """(a call's name, the first tag of its body, where the body begins)."""
        tag = self._tags[at]
        if self._patterns.has_names:
            return tag["name"].strip(), at + 1, tag.end()
        following = self._kinds[at + 1]
        end = self._tags[at + 1].start() if following else len(self._text)
        name = self._text[tag.end() : end].strip()
        if following is Tag.NAME_END:
            return name, at + 2, self._tags[at + 1].end()
        return name, at + 1, end

    def _value_end(self, at: int) -> tuple[int, int, int] | None:
        """(a value's end, the tag and the place where the call goes on), for the parameter a tag opens."""
        if self._counts_nesting:
            plain = self._kinds[at + 1] is Tag.PARAMETER_END and self._goes_on(at + 1)
            close = at + 1 if plain else self._balanced_close(at)
            if close is not None:
                tag = self._tags[close]
                return tag.start(), close + 1, tag.end()
            self._counts_nesting = False
        for index in range(at + 1, len(self._tags)):
            tag, kind = self._tags[index], self._kinds[index]
            if kind is Tag.PARAMETER_END:
                if self._goes_on(index):
                    return tag.start(), index + 1, tag.end()
            elif kind in OPENS:
                return None
            elif kind is Tag.PARAMETER and self._text[tag.start() - 1] == "\n":
                return (tag.start(), index, tag.start()) if index == at + 1 else None
        return None

    def _balanced_close(self, at: int) -> int | None:
        """The tag that closes a parameter, where each parameter opened inside its value is closed there."""
        depth = 1
        for index in range(at + 1, len(self._tags)):
            kind = self._kinds[index]
            if kind is Tag.PARAMETER:
                depth += 1
            elif kind is Tag.PARAMETER_END:
                if depth > 1:
                    depth -= 1
                elif self._goes_on(index):
                    return index
        return None

    def _goes_on(self, at: int) -> bool:
        """Whether behind a closing tag stands what does behind one that ends a value: a tag or nothing."""
        end, following = self._tags[at].end(), self._kinds[at + 1]
        if following is None:
            rest = self._text[end:].strip()
            return not rest or (rest[0] == "<" and len(rest) < _LONGEST_CUT_TAG)
        return following not in _IN_VALUES and self._is_blank(end, self._tags[at + 1].start())

    def _parameter(self, tag: re.Match[str], key: str, end: int) -> RawParameter:
        value = trimmed(self._text[tag.end() : end], self._grammar.trim)
        says = tag["string"] if "string" in tag.re.groupindex else None
        return RawParameter(key, value, None if says is None else says == "true")

    def _end(self, at: int, position: int) -> int:
        """Where a call ends whose parameters end at `position`, with a tag behind them."""
        kind = self._kinds[at]
        if kind is Tag.CALL_END:
            position = self._tags[at].end()
            at += 1
        if self._kinds[at] is Tag.WRAPPER_END and self._is_blank(position, self._tags[at].start()):
            return self._tags[at].end()
        return (
            self._past_cut_tag(position, self._grammar.wrapper_close) if self._kinds[at] is None else position
        )

    def _at_text_end(
        self, first: int, name: str, parameters: list[RawParameter], position: int, fault: Fault | None
    ) -> RawCall:
        """A call behind whose parameters no tag stands: whole only if its closing tag was begun."""
        end = self._past_cut_tag(position, self._grammar.call_close)
        if end == position:
            fault = self._patterns.advice.unclosed
        return RawCall(self._tags[first].start(), len(self._text), name, parameters, fault)

    def _past_cut_tag(self, position: int, closing: str) -> int:
        """The end of the text where only the beginning of a closing tag stands there; else `position`.

        To be asked only where no tag follows: it reads the rest of the text.
        """
        rest = self._text[position:].strip()
        if self._grammar.any_bars and len(rest) < _LONGEST_CUT_TAG:
            rest = one_bar(rest)
        return len(self._text) if len(rest) > 1 and closing.startswith(rest) else position

    def _drop_cut_section_end(self) -> None:
        if self._in_section:
            for closing in (self._grammar.section_close, *self._grammar.other_section_closes):
                end = self._past_cut_tag(self.position, closing)
                if end > self.position:
                    self._draft.drop(self.position, end)
                    break

    def _unreadable(self, first: int, at: int, fault: Fault, name: str = "") -> RawCall:
        """What was meant as a call and is none: from one tag on, its end looked for from another on.

        Where nothing ends it before the next block or the end of the text, it was cut off.
        """
        end = len(self._text)
        for index in range(at, len(self._tags)):
            kind = self._kinds[index]
            if kind in ENDS:
                whole = self._kinds[first] is Tag.SECTION
                end = self._tags[index].end() if whole else self._end(index, self._tags[index].start())
                return RawCall(self._tags[first].start(), end, name, [], fault)
            if kind in OPENS:
                end = self._tags[index].start()
                break
        return RawCall(self._tags[first].start(), end, name, [], self._patterns.advice.unclosed)

    def _is_blank(self, start: int, end: int) -> bool:
        return start >= end or self._text[start:end].isspace()

    def _name_fault(self, name: str) -> Fault | None:
        if not name:
            return self._patterns.advice.no_name
        if not self._patterns.has_names and not NAME.fullmatch(name):
            return self._patterns.advice.no_call
        return None
