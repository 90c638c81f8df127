"""The family of formats that write calls as Python does: ``name(key='value', other=3)``.

Each call of a list counts for itself. Arguments are keyword arguments with literal values; ``**{...}`` says
names that Python cannot. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.format import Tools
from rollway.tool_parsers.items import Item, settle_list
from rollway.tool_parsers.json_calls import UNCLOSED, Call, Fault
from rollway.tool_parsers.json_values import NextTag, any_of, is_cut_tag, skip_space
from rollway.tool_parsers.output import ParsedOutput, ParseErrorKind
from rollway.tool_parsers.python_literals import (
    STRING,
    NotLiteral,
    next_token,
    read_literal,
    to_json,
    write_literal,
)
from rollway.tool_parsers.rendering import arguments_of
from rollway.trajectory import ToolCall

NAME = r"[^\W\d][\w.-]*+"
"""A tool's name: letters, digits, ``_``, ``.`` and ``-``, a letter or ``_`` first."""

_HEAD = re.compile(rf"({NAME})\s*+\(")
_NAME = re.compile(NAME)
_KEYWORD = re.compile(r"[^\W\d]\w*+")
_RESERVED = frozenset(["True", "False", "None", "true", "false", "null"])
_NO_CALL = Fault(
    ParseErrorKind.MALFORMED, "This is no call. Write each call as name(key=value), with literal values."
)


class CallTags:
    """The tags around lists of calls, compiled. A tag is "" where the format has none."""

    __slots__ = ("closing", "opening", "skip")

    def __init__(self, opening: str = "", closing: str = "") -> None:
        self.opening = opening
        self.closing = closing
        tags = any_of([tag for tag in (opening, closing) if tag])
        # As for JSON, a string counts as one only if what follows can follow a string.
        self.skip = re.compile(
            rf"(?P<string>{STRING})(?=\s*+(?:[,:)\]}}]|\Z))|(?P<open>[(\[{{])|(?P<close>[)\]}}])"
            rf"|(?P<stop>{tags}|['\"\\])",
            re.DOTALL,
        )


class CallReader:
    """Reads lists of calls out of one text."""

    def __init__(self, text: str, tags: CallTags) -> None:
        self._text = text
        self._opening = tags.opening
        self._closing = tags.closing
        self._skip = tags.skip
        self._closings = NextTag(text, tags.closing)

    def read(self, position: int) -> tuple[list[Item], int]:
        """The calls from ``position`` on, in brackets or not, and where their block ends."""
        text = self._text
        items: list[Item] = []
        position = skip_space(text, position)
        bracketed = text.startswith("[", position)
        position += bracketed
        while True:
            position = skip_space(text, position)
            if bracketed and text.startswith("]", position):
                return items, self._past_closing(position + 1, items)
            if self._is_end(position):
                return items, self._past_closing(position, items)
            if items and text.startswith((",", ";"), position):
                position += 1
                continue
            items.append(self._item(position))
            position = items[-1].end
            if items[-1].last:
                return items, position

    def _is_end(self, position: int) -> bool:
        if not self._closing:
            return position >= len(self._text)
        return self._text.startswith(self._closing, position) or is_cut_tag(
            self._text, position, [self._closing]
        )

    def _past_closing(self, position: int, items: list[Item]) -> int:
        """Step over the closing tag, which may be missing or cut short."""
        tag = skip_space(self._text, position)
        if self._closing and self._text.startswith(self._closing, tag):
            return tag + len(self._closing)
        if self._closing and is_cut_tag(self._text, tag, [self._closing]):
            return len(self._text)
        return position

    def _item(self, start: int) -> Item:
        head = _HEAD.match(self._text, start)
        if head is None:
            return self._rest(start, start, start, _NO_CALL)
        name = head[1]
        try:
            arguments, end = _arguments(self._text, head.end())
            return Item(start, end, [Call(name, to_json(arguments, start))])
        except NotLiteral as wrong:
            fault = Fault(
                ParseErrorKind.INVALID_ARGUMENTS,
                f"The arguments of {name!r} cannot be read: there is {wrong.reason}. "
                f"Write each as key=value, with a literal for its value.",
                name,
            )
            end, whole = self._skip_call(head.end())
            return Item(start, end, fault) if whole else self._rest(start, end, wrong.position, fault)

    def _skip_call(self, position: int) -> tuple[int, bool]:
        """Where a call that cannot be read ends, or where nobody can tell any more."""
        depth = 1  # ``position`` is behind the call's opening bracket
        for token in self._skip.finditer(self._text, position):
            kind = token.lastgroup
            if kind == "open":
                depth += 1
            elif kind == "close":
                depth -= 1
                if depth == 0:
                    return token.end(), True
            elif kind == "stop":
                return token.start(), False
        return len(self._text), False

    def _rest(self, start: int, stopped: int, wrong: int, fault: Fault) -> Item:
        """An item that nobody knows the end of: everything up to the end of the block."""
        if self._opening and self._text.startswith(self._opening, stopped):
            return Item(start, stopped, UNCLOSED._replace(name=fault.name), last=True)
        close = self._closings.find(wrong)
        if close >= 0:
            return Item(start, close + len(self._closing), fault, last=True)
        return Item(start, len(self._text), UNCLOSED._replace(name=fault.name), last=True)


class TaggedPython:
    """A format that puts calls between tags."""

    def __init__(self, opening: str, closing: str) -> None:
        self._tags = CallTags(opening, closing)

    def parse(self, text: str, tools: Tools, lenient: bool) -> ParsedOutput:
        """See `ToolParser.parse`. There is nothing to be lenient about: Python has no second spelling."""
        draft = Draft(text)
        reader = CallReader(text, self._tags)
        opening = self._tags.opening
        position = 0
        while (start := draft.find(opening, position)) >= 0:
            body = start + len(opening)
            while text.startswith(opening, again := skip_space(text, body)):
                body = again + len(opening)  # a tag written twice opens one block
            items, position = reader.read(body)
            settle_list(draft, start, position, items)
        return draft.finish(position)


def _arguments(text: str, position: int) -> tuple[dict[str, Any], int]:
    """The arguments behind an opening bracket, and where the closing one ends."""
    arguments: dict[str, Any] = {}
    while True:
        kind, token, after = next_token(text, position)
        if kind == "mark" and token == ")":
            return arguments, after
        if kind == "mark" and token == "**":
            more, after = read_literal(text, after)
            if not isinstance(more, dict):
                raise NotLiteral("something behind ** that is no dict", position)
        elif kind == "word" and token not in _RESERVED:
            _, equals, after = next_token(text, after)
            if equals != "=":
                raise NotLiteral(f"{token!r} without '='", position)
            value, after = read_literal(text, after)
            more = {token: value}
        else:
            raise NotLiteral("a value without a key", position)
        if not arguments.keys().isdisjoint(more):
            raise NotLiteral(f"{next(iter(arguments.keys() & more))!r} twice", position)
        arguments.update(more)
        _, token, position = next_token(text, after)
        if token == ")":
            return arguments, position
        if token != ",":
            raise NotLiteral(f"{token!r} where a comma or ')' should be", after)


def write_call(call: ToolCall) -> str:
    """A call as Python writes it.

    Raises:
        ValueError: Python has no such name, or the arguments are no JSON object.
    """
    if not _NAME.fullmatch(call.name):
        raise ValueError(f"this format cannot write a tool named {call.name!r}")
    arguments = arguments_of(call)
    plain = {key: value for key, value in arguments.items() if _is_keyword(key)}
    odd = {key: value for key, value in arguments.items() if key not in plain}
    written = [f"{key}={write_literal(value)}" for key, value in plain.items()]
    if odd:
        written.append(f"**{write_literal(odd)}")
    return f"{call.name}({', '.join(written)})"


def write_list(calls: Sequence[ToolCall]) -> str:
    """Calls in brackets."""
    return "[" + ", ".join(write_call(call) for call in calls) + "]"


def _is_keyword(key: str) -> bool:
    return _KEYWORD.fullmatch(key) is not None and key not in _RESERVED


CANNOT_SAY = "A name that is not a Python name (dots and hyphens are allowed)."
