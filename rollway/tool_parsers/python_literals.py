"""Python literals read from text by position, and written: strings, numbers, lists, dicts, True, False, None.

JSON's true, false and null are read as well. Nothing is evaluated, no name is looked up, and work is linear.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

_MAX_DEPTH = 100
_MAX_DIGITS = 4000
_SPACE = r"\s*+"
STRING = (
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""'
    r"|'''(?:[^'\\]|\\.|'(?!''))*+'''"
    r'|"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    r"|'[^'\\]*+(?:\\.[^'\\]*+)*+'"
)
_NUMBER = r"[+-]?(?:0[xX][0-9a-fA-F]++|(?:[0-9][0-9_]*+(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)"
_HEX = re.compile(r"[+-]?0[xX].*")
_INTEGER = re.compile(r"[+-]?[0-9_]+")
TOKEN = re.compile(
    rf"""{_SPACE}(?:
        (?P<string> {STRING} )
      | (?P<number> {_NUMBER}(?![\w.]) )
      | (?P<word> [^\W\d][\w.-]*+ )
      | (?P<mark> \*\* | [][{{}}():,=] )
    )""",
    re.VERBOSE | re.DOTALL,
)
_LITERALS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-7]{1,3})|N\{([^}]{1,99})\}|(.))",
    re.DOTALL,
)
_ESCAPES = {
    "\n": "", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b",
    "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip


class NotLiteral(Exception):
    """The text holds something else at ``position``."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


def read_literal(text: str, position: int, depth: int = 0) -> tuple[Any, int]:
    """The literal that begins at ``position``, as JSON would say it, and where it ends.

    Raises:
        NotLiteral: there is none.
    """
    kind, token, end = next_token(text, position)
    if kind == "string":
        return _strings(text, token, end)
    if kind == "number":
        return _number(token, position), end
    if kind == "word" and token in _LITERALS:
        return _LITERALS[token], end
    if depth >= _MAX_DEPTH:
        raise NotLiteral("a value that is nested too deeply", position)
    if kind == "mark" and token == "{":
        return _dict(text, end, depth + 1)
    if kind == "mark" and token in ("[", "("):
        return _list(text, end, depth + 1, "]" if token == "[" else ")")
    raise NotLiteral(f"{token!r}, which is no literal", position)


def next_token(text: str, position: int) -> tuple[str, str, int]:
    """Kind, text and end of the next token.

    Raises:
        NotLiteral: the text goes on with something else, or ends.
    """
    match = TOKEN.match(text, position)
    if match is None:
        raise NotLiteral("something that is no Python", position)
    kind = match.lastgroup or ""
    return kind, match[kind], match.end()


def write_literal(value: Any) -> str:
    """A value out of JSON as Python writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {write_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(write_literal(item) for item in value) + "]"
    return repr(value)


def to_json(value: Any, position: int) -> str:
    """A value as JSON text.

    Raises:
        NotLiteral: a string of it is no text (half of a surrogate pair).
    """
    source = json.dumps(value, ensure_ascii=False)
    try:
        source.encode()
    except UnicodeEncodeError:
        raise NotLiteral("a string with half a character", position) from None
    return source


def _strings(text: str, token: str, end: int) -> tuple[str, int]:
    """One string, or several that stand side by side."""
    parts = [_unquote(token, end)]
    while (match := TOKEN.match(text, end)) is not None and match["string"]:
        end = match.end()
        parts.append(_unquote(match["string"], end))
    return "".join(parts), end


def _unquote(token: str, position: int) -> str:
    width = 3 if len(token) >= 6 and token[:3] in ('"' * 3, "'" * 3) else 1
    body = token[width:-width]
    if "\\" not in body:
        return body
    try:
        plain = _ESCAPE.sub(_unescape, body)
        # Some models write characters beyond the first plane in two halves.
        return plain.encode("utf-16", "surrogatepass").decode("utf-16")
    except (ValueError, KeyError, OverflowError):
        raise NotLiteral("a string with an escape that means nothing", position) from None


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code:
        return chr(int(code, 16))
    if match[4]:
        return chr(int(match[4], 8))
    if match[5]:
        return unicodedata.lookup(match[5])
    return _ESCAPES.get(match[6], match[0])


def _number(token: str, position: int) -> int | float:
    if len(token) > _MAX_DIGITS:
        raise NotLiteral("a number with too many digits", position)
    try:
        if _HEX.fullmatch(token):
            return int(token, 16)
        if _INTEGER.fullmatch(token):
            return int(token, 0)
        number = float(token)
    except ValueError:
        raise NotLiteral(f"{token!r}, which is no number", position) from None
    if math.isinf(number):
        raise NotLiteral(f"{token!r}, which is no number", position)
    return number


def _list(text: str, position: int, depth: int, closing: str) -> tuple[list[Any], int]:
    items: list[Any] = []
    while True:
        kind, token, after = next_token(text, position)
        if kind == "mark" and token == closing:
            return items, after
        item, position = read_literal(text, position, depth)
        items.append(item)
        position = _past_comma(text, position, closing)


def _dict(text: str, position: int, depth: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while True:
        kind, token, after = next_token(text, position)
        if kind == "mark" and token == "}":
            return fields, after
        key, after = read_literal(text, position, depth)
        if not isinstance(key, str):
            raise NotLiteral("a key that is no string", position)
        kind, token, after = next_token(text, after)
        if token != ":":
            raise NotLiteral(f"{token!r} where a colon should be", after)
        if key in fields:
            raise NotLiteral(f"the key {key!r} twice", position)
        fields[key], position = read_literal(text, after, depth)
        position = _past_comma(text, position, "}")


def _past_comma(text: str, position: int, closing: str) -> int:
    """Where the next item or the closing bracket begins."""
    kind, token, after = next_token(text, position)
    if kind == "mark" and token == ",":
        return after
    if kind == "mark" and token == closing:
        return position
    raise NotLiteral(f"{token!r} where a comma or {closing!r} should be", position)
