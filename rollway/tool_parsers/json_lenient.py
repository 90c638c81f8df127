"""Objects that are nearly JSON: single quotes, trailing commas, Python literals, bare keys.

Used to find where such an object ends, and to read it when the caller asked for leniency. It reads no
further than the first thing that is none of these, and a missing bracket is never added.
"""

from __future__ import annotations

import math
import re
from typing import Any

_MAX_DEPTH = 100
_TOKEN = re.compile(
    r"""\s*+(?:
        (?P<string> "[^"\\]*+(?:\\.[^"\\]*+)*+" | '[^'\\]*+(?:\\.[^'\\]*+)*+' )
      | (?P<number> -?(?:(?:0|[1-9]\d*+)(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?(?![\w.]) )
      | (?P<word> [^\W\d][\w.$-]*+ )
      | (?P<mark> [{}\[\]():,] )
    )""",
    re.VERBOSE | re.DOTALL,
)
_LITERALS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_MAX_DIGITS = 4000


class _NotReadable(Exception):
    pass


def read_lenient(text: str, start: int, *, unique: bool = False) -> tuple[Any, int] | None:
    """The value that begins at ``start`` and where it ends; None when it cannot be read even so.

    ``unique`` refuses an object that gives a key twice.
    """
    try:
        return _value(text, start, 0, unique)
    except _NotReadable:
        return None


def _token(text: str, position: int) -> tuple[str, str, int]:
    match = _TOKEN.match(text, position)
    if match is None:
        raise _NotReadable
    kind = match.lastgroup or ""
    return kind, match[kind], match.end()


def _value(text: str, position: int, depth: int, unique: bool) -> tuple[Any, int]:
    kind, token, end = _token(text, position)
    if kind == "string":
        return _unquote(token), end
    if kind == "number":
        return _number(token), end
    if kind == "word" and token in _LITERALS:
        return _LITERALS[token], end
    if token == "{" and depth < _MAX_DEPTH:
        return _object(text, end, depth + 1, unique)
    if token in ("[", "(") and depth < _MAX_DEPTH:
        return _items(text, end, depth + 1, "]" if token == "[" else ")", unique)
    raise _NotReadable


def _number(token: str) -> int | float:
    if len(token) > _MAX_DIGITS:
        raise _NotReadable
    if token.lstrip("-").isdigit():
        return int(token)
    number = float(token)
    if math.isinf(number):
        raise _NotReadable
    return number


def _object(text: str, position: int, depth: int, unique: bool) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while True:
        kind, token, position = _token(text, position)
        if token == "}" and kind == "mark":
            return fields, position
        if kind not in ("string", "word"):
            raise _NotReadable
        key = _unquote(token) if kind == "string" else token
        _, mark, position = _token(text, position)
        if mark != ":":
            raise _NotReadable
        if unique and key in fields:
            raise _NotReadable
        fields[key], position = _value(text, position, depth, unique)
        _, mark, after = _token(text, position)
        if mark == ",":
            position = after
        elif mark != "}":
            raise _NotReadable


def _items(text: str, position: int, depth: int, closing: str, unique: bool) -> tuple[list[Any], int]:
    items: list[Any] = []
    while True:
        kind, token, after = _token(text, position)
        if token == closing and kind == "mark":
            return items, after
        item, position = _value(text, position, depth, unique)
        items.append(item)
        _, mark, after = _token(text, position)
        if mark == ",":
            position = after
        elif mark != closing:
            raise _NotReadable


def _unquote(token: str) -> str:
    body = token[1:-1]
    if "\\" not in body:
        return body
    plain = _ESCAPE.sub(_unescape, body)
    # Escapes of characters beyond the first plane come as two halves.
    try:
        return plain.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _NotReadable from None


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _ESCAPES.get(match[3], match[3])
