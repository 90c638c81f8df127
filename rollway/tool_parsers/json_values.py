"""Where a JSON value ends in a longer text.

Strings are respected, so a tag or a brace inside one counts for nothing; they may hold raw newlines. No
position is looked at more than a few times, whatever the text holds, and nothing here recurses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

MAX_DEPTH = 500
"""Brackets open at a time. Deeper values are taken for broken: no JSON reader would follow them."""

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRINGS = re.compile(_STRING, re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_SPACE = re.compile(r"[ \t\r\n]*+")
_SCALAR = re.compile(r"[\w.+-]++")


class Ending(Enum):
    """Why a scan stopped."""

    COMPLETE = "complete"  # at the value's end: brackets are balanced, which is not yet valid JSON
    TAG = "tag"  # at a tag that stands outside strings, inside the value
    BROKEN = "broken"  # at something that no JSON value holds
    STRING = "string"  # at a string that never ends
    TEXT_END = "text_end"  # the text ran out


class Scan(NamedTuple):
    """Where a scan stopped, and why. What stands before ``end`` need not be looked at again."""

    end: int
    ending: Ending
    single_quotes: bool = False  # some stand outside strings, so JSON's own strings may not be what they seem


class JsonScanner:
    """Finds the ends of values. A tag of ``tags`` outside strings ends a value that is not complete."""

    __slots__ = ("_token",)

    def __init__(self, tags: Sequence[str] = ()) -> None:
        tag = any_of(tags)
        # A string counts as one only if what follows can follow a string: after a quote too many or too
        # few, every later string would be taken for a gap and every gap for a string.
        self._token = re.compile(
            rf"(?P<string>{_STRING}(?=\s*+(?:[,:\]}}]|\Z|{tag})))|(?P<open>[\[{{])|(?P<close>[\]}}])"
            rf'|(?P<tag>{tag})|(?P<single>\')|(?P<broken>["\\])',
            re.DOTALL,
        )

    def scan(self, text: str, start: int) -> Scan:
        """Read one value that begins at ``start``, where no white space stands."""
        first = text[start : start + 1]
        if first == '"':
            end = _STRINGS.match(text, start)
            return Scan(end.end(), Ending.COMPLETE) if end else Scan(start, Ending.STRING)
        if first not in ("{", "["):
            scalar = _SCALAR.match(text, start)
            if scalar:
                return Scan(scalar.end(), Ending.COMPLETE)
            return Scan(start, Ending.BROKEN if first else Ending.TEXT_END)
        return self._scan_brackets(text, start)

    def _scan_brackets(self, text: str, start: int) -> Scan:
        depth = 0
        single = False
        for token in self._token.finditer(text, start):
            kind = token.lastgroup
            if kind == "string":
                continue
            if kind == "open":
                depth += 1
                if depth > MAX_DEPTH:
                    return Scan(token.start(), Ending.BROKEN, single)
            elif kind == "close":
                depth -= 1
                if depth == 0:
                    return Scan(token.end(), Ending.COMPLETE, single)
            elif kind == "single":
                single = True
            elif kind == "tag":
                return Scan(token.start(), Ending.TAG, single)
            else:
                endless = token[0] == '"' and not _STRINGS.match(text, token.start())
                return Scan(token.start(), Ending.STRING if endless else Ending.BROKEN, single)
        return Scan(len(text), Ending.TEXT_END, single)


def skip_space(text: str, position: int) -> int:
    """The first position from ``position`` on without white space."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


def escape_controls(source: str) -> str:
    """JSON text with the raw control characters inside its strings escaped, and not changed otherwise."""
    if not _CONTROL.search(source):
        return source
    return _STRINGS.sub(lambda string: _CONTROL.sub(_escape, string[0]), source)


def _escape(match: re.Match[str]) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(match[0]) or f"\\u{ord(match[0]):04x}"


def any_of(tags: Sequence[str]) -> str:
    """A pattern for any of some tags; one that never matches where there are none."""
    return "|".join(re.escape(tag) for tag in tags) or "(?!)"


def is_cut_tag(text: str, position: int, tags: Sequence[str]) -> bool:
    """Whether the text ends at ``position``, or in the middle of a tag that begins there."""
    left = len(text) - position
    return any(left < len(tag) and tag.startswith(text[position:]) for tag in tags)


class NextTag:
    """Finds a tag again and again from growing positions, reading the text once over all."""

    __slots__ = ("_found", "_tag", "_text")

    def __init__(self, text: str, tag: str) -> None:
        self._text = text
        self._tag = tag
        self._found = -1  # where it next stands; beyond the text when nowhere

    def find(self, position: int) -> int:
        """Like ``str.find``, for positions that never get smaller; -1 when nowhere."""
        if self._found < position:
            found = self._text.find(self._tag, position) if self._tag else -1
            self._found = found if found >= 0 else len(self._text) + 1
        return self._found if self._found <= len(self._text) else -1


class NextMatch:
    """Like `NextTag`, for a pattern."""

    __slots__ = ("_found", "_pattern", "_text")

    def __init__(self, text: str, pattern: re.Pattern[str]) -> None:
        self._text = text
        self._pattern = pattern
        self._found = -1

    def find(self, position: int) -> int:
        """Where the pattern next matches, for positions that never get smaller; -1 when nowhere."""
        if self._found < position:
            match = self._pattern.search(self._text, position)
            self._found = match.start() if match else len(self._text) + 1
        return self._found if self._found <= len(self._text) else -1
