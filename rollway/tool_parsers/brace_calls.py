"""The family of formats that write ``call:name{key:value}`` with strings between quoting tags of their own.

A string ends at the next quoting tag, whatever else it holds; everything outside strings is punctuation,
names and bare scalars. What a bare scalar is, the tool's schema decides.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from rollway.tool_parsers.draft import THINK, Draft
from rollway.tool_parsers.format import Tools
from rollway.tool_parsers.json_calls import Fault
from rollway.tool_parsers.json_values import NextTag
from rollway.tool_parsers.output import ParsedOutput, ParseErrorKind
from rollway.tool_parsers.schema_types import (
    STRING_ONLY,
    Encoded,
    Schema,
    ToolSchemas,
    encode_json,
    encode_text,
    join_arguments,
    quote,
)

_MAX_DEPTH = 100
_HEAD = re.compile(r"\s*+(?:call)?:(?P<name>[^{}<>\n]*+)\{")
NAME = re.compile(r"[^\s{}<>:]+")
PLAIN_KEY = re.compile(r"[\w.$-]+")
_KEY = re.compile(r"[^\s:,{}\[\]<>\"'][^:,{}\[\]<>\"'\n]*+")
_BARE = re.compile(r"[^,{}\[\]<]++")
_SPACE = re.compile(r"\s*+")


class BraceGrammar(msgspec.Struct, frozen=True, kw_only=True):
    """The tags of a format. `quote` stands on both sides of a string."""

    opening: str
    closing: str
    quote: str
    quotes_json: bool = False  # what stands in quotes is JSON where it is JSON
    thought: re.Pattern[str] = THINK

    @property
    def shape(self) -> str:
        """A call as it should be written, for advice to the model."""
        return f"{self.opening}call:NAME{{KEY:{self.quote}TEXT{self.quote},KEY:5}}{self.closing}"


class _BrokenError(Exception):
    """The arguments stop being arguments. Never leaves this file.

    `position` is where the block's end is to be looked for: what stands in strings before it is quoted. A
    string that the break follows directly may not be one, so it is looked into.
    """

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position


class BraceFormat:
    """`parse` for a format of this family."""

    def __init__(self, grammar: BraceGrammar) -> None:
        self.grammar = grammar
        mark = re.escape(grammar.quote)
        self._plain = re.compile(rf"(?P<key>{PLAIN_KEY.pattern}+):(?P<value>{mark}(?P<text>[^<]*+){mark})")

    def parse(self, text: str, tools: Tools, lenient: bool) -> ParsedOutput:
        """See `ToolParser.parse`."""
        draft = Draft(text, self.grammar.thought)
        start = draft.find(self.grammar.opening, 0)
        if start < 0:
            return draft.finish()
        blocks = _Blocks(draft, self.grammar, self._plain, ToolSchemas(tools), lenient)
        position = 0
        while start >= 0:
            position = blocks.read(start)
            start = draft.find(self.grammar.opening, position)
        return draft.finish(position)


class _Read(NamedTuple):
    """A value that was read: JSON text, and where it ends."""

    json: str
    end: int


class _Blocks:
    """Reads the blocks of one text, in order."""

    def __init__(
        self,
        draft: Draft,
        grammar: BraceGrammar,
        plain: re.Pattern[str],
        schemas: ToolSchemas,
        lenient: bool,
    ) -> None:
        self._draft = draft
        self._plain = plain
        self._text = draft.text
        self._grammar = grammar
        self._schemas = schemas
        self._lenient = lenient
        self._openings = NextTag(draft.text, grammar.opening)
        self._closings = NextTag(draft.text, grammar.closing)

    def read(self, start: int) -> int:
        """Tell the draft of the block that opens at ``start``; return its end."""
        body = start + len(self._grammar.opening)
        head = _HEAD.match(self._text, body)
        if head is None:
            problem = f"There is no call in this block. Write it as {self._grammar.shape!r}."
            return self._reject(start, body, problem)
        name = head["name"].strip()
        arguments = _Arguments(self._text, self._grammar, self._plain, self._lenient)
        try:
            fields, end = arguments.read(head.end(), self._schemas, name)
            end = self._end(end)
        except _BrokenError as broken:
            problem = f"{broken}. Write the call as {self._grammar.shape!r}."
            return self._reject(start, broken.position, problem, name)
        fault = self._name_fault(name) or arguments.fault
        if fault:
            self._draft.reject(start, end, fault.kind, fault.message, name=name)
        else:
            self._draft.call(start, end, name, fields, repaired=arguments.repaired)
        return end

    def _name_fault(self, name: str) -> Fault | None:
        if not name:
            message = f"The call has no name. Write it as {self._grammar.shape!r}."
            return Fault(ParseErrorKind.MISSING_NAME, message)
        if not NAME.fullmatch(name):
            message = f"{name!r} is not the name of a tool. Write the call as {self._grammar.shape!r}."
            return Fault(ParseErrorKind.MALFORMED, message)
        return None

    def _end(self, position: int) -> int:
        """The end of a block whose arguments end at ``position``; its closing tag may be missing or cut."""
        closing = self._grammar.closing
        tag = _after_space(self._text, position)
        if self._text.startswith(closing, tag):
            return tag + len(closing)
        if closing.startswith(self._text[tag : tag + len(closing)]) and tag < len(self._text):
            return len(self._text)
        close, opening = self._closings.find(tag), self._openings.find(tag)
        if close < 0 or 0 <= opening < close:
            return position
        raise _BrokenError(tag, "There is text behind the arguments")

    def _reject(self, start: int, position: int, problem: str, name: str = "") -> int:
        """Reject the block at ``start``, whose end is looked for from ``position`` on."""
        close, opening = self._closings.find(position), self._openings.find(position)
        if close >= 0 and not 0 <= opening < close:
            end = close + len(self._grammar.closing)
            self._draft.reject(start, end, ParseErrorKind.MALFORMED, problem, name=name)
            return end
        end = opening if opening >= 0 else len(self._text)
        message = f"The call is cut off: {self._grammar.closing!r} is missing. Write the whole call again."
        self._draft.reject(start, end, ParseErrorKind.UNCLOSED, message, name=name)
        return end


class _Arguments:
    """Reads the arguments of one call as JSON text. `fault` says what is wrong with a value that was read."""

    def __init__(self, text: str, grammar: BraceGrammar, plain: re.Pattern[str], lenient: bool) -> None:
        self.fault: Fault | None = None
        self._plain = plain  # a key with text, as nearly all are: a short cut
        self.repaired = False
        self._text = text
        self._grammar = grammar
        self._lenient = lenient

    def read(self, position: int, schemas: ToolSchemas, tool: str) -> tuple[str, int]:
        """(a JSON object, where it ends) of the fields behind an opening brace."""
        return self._fields(position, schemas.tool(tool), 0)

    def _fields(self, position: int, schema: Schema | None, depth: int) -> tuple[str, int]:
        fields: dict[str, str] = {}
        position = _after_space(self._text, position)
        while not self._text.startswith("}", position):
            plain = self._plain.match(self._text, position)
            key, start = (plain["key"], plain.start("value")) if plain else self._key(position)
            if key in fields:
                raise _BrokenError(start, f"The key {key!r} is given twice")
            child = schema.property(key) if schema else None
            if plain:
                fields[key] = self._text_value(plain["text"], child, depth)
                end = plain.end()
            else:
                start = _after_space(self._text, start)
                fields[key], end = self._value(start, child, depth)
            position = self._past_comma(start, end, "}")
        return join_arguments(list(fields.items())), position + 1

    def _items(self, position: int, schema: Schema | None, depth: int) -> tuple[str, int]:
        items: list[str] = []
        position = _after_space(self._text, position)
        while not self._text.startswith("]", position):
            value = self._value(position, schema, depth)
            items.append(value.json)
            position = self._past_comma(position, value.end, "]")
        return f"[{', '.join(items)}]", position + 1

    def _past_comma(self, start: int, position: int, closing: str) -> int:
        """Where the entry behind a value begins, or the closing bracket stands."""
        position = _after_space(self._text, position)
        if self._text.startswith(",", position):
            return _after_space(self._text, position + 1)
        if self._text.startswith(closing, position):
            return position
        doubtful = self._text.startswith(self._grammar.quote, start)
        raise _BrokenError(start if doubtful else position, f"A value is not followed by ',' or {closing!r}")

    def _key(self, position: int) -> tuple[str, int]:
        mark = self._grammar.quote
        if self._text.startswith(mark, position):
            key, end = self._quoted(position)
        else:
            match = _KEY.match(self._text, position)
            if match is None:
                raise _BrokenError(position, "A key is missing")
            key, end = match[0].rstrip(), match.end()
        end = _after_space(self._text, end)
        if not self._text.startswith(":", end):
            raise _BrokenError(end, f"The key {key!r} has no value")
        return key, end + 1

    def _quoted(self, position: int) -> tuple[str, int]:
        mark = self._grammar.quote
        begin = position + len(mark)
        end = self._text.find(mark, begin)
        if end < 0:
            raise _BrokenError(begin, "A string is not closed")
        return self._text[begin:end], end + len(mark)

    def _value(self, position: int, schema: Schema | None, depth: int) -> _Read:
        """The value at ``position``; ``depth`` is how many brackets it stands in, 0 for a parameter."""
        first = self._text[position : position + 1]
        if self._text.startswith(self._grammar.quote, position):
            text, end = self._quoted(position)
            return _Read(self._text_value(text, schema, depth), end)
        if first in ("{", "[") and first:
            if depth >= _MAX_DEPTH:
                raise _BrokenError(position, "The arguments are nested too deeply")
            if first == "{":
                return _Read(*self._fields(position + 1, schema, depth + 1))
            return _Read(*self._items(position + 1, schema.items() if schema else None, depth + 1))
        match = _BARE.match(self._text, position)
        if match is None or match[0].isspace():
            raise _BrokenError(position, "A value is missing")
        return _Read(self._bare_value(match[0].rstrip(), match.start(), schema, depth), match.end())

    def _text_value(self, text: str, schema: Schema | None, depth: int) -> str:
        """What stands in quotes: text, unless its schema or its format says otherwise."""
        types = schema.types if schema else frozenset()
        if self._grammar.quotes_json and not depth:
            found = encode_json(text)
            if not isinstance(found, Fault) and (types != STRING_ONLY or found.json.startswith('"')):
                return found.json
        if not types or "string" in types:
            return quote(text)
        return self._settle(encode_text(text, schema, lenient=self._lenient))

    def _bare_value(self, text: str, position: int, schema: Schema | None, depth: int) -> str:
        """What stands without quotes. Strings have marks of their own: where no schema says otherwise, a bare
        number, boolean or null is what it looks like."""
        if text[0] in "\"'":
            if not self._lenient or len(text) < 2 or text[-1] != text[0]:
                raise _BrokenError(position, f"Text stands in {text[0]} and not in {self._grammar.quote!r}")
            self.repaired = True
            return quote(text[1:-1])
        if schema and schema.types:
            return self._settle(encode_text(text, schema))
        found = encode_json(text)
        return quote(text) if isinstance(found, Fault) else found.json

    def _settle(self, value: Encoded | Fault) -> str:
        if isinstance(value, Fault):
            self.fault = self.fault or value
            return "null"
        self.repaired = self.repaired or value.repaired
        return value.json


def _after_space(text: str, position: int) -> int:
    if not text[position : position + 1].isspace():
        return position
    match = _SPACE.match(text, position)
    return match.end() if match else position
