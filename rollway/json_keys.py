"""Keys that stand twice in one object of JSON. Readers take the last and say nothing.

Nearly every text is cleared by counting: it has as many colons as keys or more, and its value, where each key
counts once, as many keys or fewer. Where the two are equal, no key stands twice.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

_DECODER = msgspec.json.Decoder()
_NESTED = (dict, list)
_STRING = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?', re.DOTALL)
"""A string, and the colon behind it where it is a key. In valid JSON no string begins inside of another."""


class _Repeated(Exception):
    pass


def repeated_key(source: str) -> str | None:
    """The first key that one object of ``source``, which is valid JSON, gives twice; None for none."""
    try:
        value = _DECODER.decode(source)
        colons = source.count(":")
        if type(value) is dict and len(value) == colons:
            return None
        count = _key_count(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None  # other readers say what is wrong with it
    if count == colons or count == _most_keys(source):
        return None
    keys = [key for key, colon in _STRING.findall(source) if colon]
    if len(set(keys)) == len(keys) and "\\" not in "".join(keys):
        return None
    try:
        json.loads(source, object_pairs_hook=_refuse_repeated, parse_int=float)
    except _Repeated as found:
        return str(found)
    except (ValueError, RecursionError):
        return None
    return None


def _key_count(value: Any) -> int:
    """How many keys a value's objects have, where each counts once."""
    if type(value) is dict:
        return len(value) + sum(_key_count(inner) for inner in value.values() if type(inner) in _NESTED)
    return sum(_key_count(inner) for inner in value if type(inner) in _NESTED) if type(value) is list else 0


def _most_keys(source: str) -> int:
    """No fewer than the keys of the text: behind the quote of each stands a colon, or white space."""
    return sum(map(source.count, ('":', '" ', '"\n', '"\t', '"\r')))


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise _Repeated(key)
        seen.add(key)
