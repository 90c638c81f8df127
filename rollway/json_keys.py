"""Keys that stand twice in one object of JSON. Readers take the last and say nothing.

One pass over the text is enough for nearly every value; objects are told apart only where a key comes again.
"""

from __future__ import annotations

import json
import re
from typing import Any

_STRING = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?', re.DOTALL)
"""A string, and the colon behind it where it is a key. In valid JSON no string begins inside of another."""


class _Repeated(Exception):
    pass


def repeated_key(source: str) -> str | None:
    """The first key that one object of ``source``, which is valid JSON, gives twice; None for none."""
    keys = [key for key, colon in _STRING.findall(source) if colon]
    if len(set(keys)) == len(keys) and "\\" not in "".join(keys):
        return None
    try:
        json.loads(source, object_pairs_hook=_refuse_repeated, parse_int=float)
    except _Repeated as found:
        return str(found)
    except (ValueError, RecursionError):
        return None  # other readers say what is wrong with it
    return None


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise _Repeated(key)
        seen.add(key)
