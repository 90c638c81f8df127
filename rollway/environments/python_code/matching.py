"""Does what a sandbox sent agree with what is expected? Decided here, on plain data, guided by the latter.

The sender is not trusted: nothing it sent is built into an object, hashed or called, and the work is bounded
by the size of the expected value.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

TOLERANCE = 1e-6
"""Relative and absolute, of `Approximately`."""


class Exactly(msgspec.Struct, frozen=True, tag=True):
    """Equal in the sense of ``==``."""

    value: Any


class Approximately(msgspec.Struct, frozen=True, tag=True):
    """A number within `TOLERANCE`."""

    value: float


class Raises(msgspec.Struct, frozen=True, tag=True):
    """An exception of this class, or of one that derives from it."""

    name: str


Expected = Exactly | Approximately | Raises


def agrees(sent: Any, expected: Expected) -> bool:
    """Is ``sent``, in the form of `worker.encode`, what is expected?"""
    if isinstance(expected, Raises):
        names = _tagged(sent, "raised")
        return names is not None and expected.name in names
    if isinstance(expected, Approximately):
        return _is_number(sent) and math.isclose(sent, expected.value, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return _equal(sent, expected.value)


def _equal(sent: Any, value: Any) -> bool:
    if isinstance(value, (bool, int, float)):
        return _is_number(sent) and bool(sent == value)
    if value is None or isinstance(value, str):
        return type(sent) is type(value) and bool(sent == value)
    if isinstance(value, bytes):
        return isinstance(sent, dict) and sent.get("bytes") == value.hex()
    if isinstance(value, list):
        return isinstance(sent, list) and _all_equal(sent, value)
    if isinstance(value, tuple):
        items = _tagged(sent, "tuple")
        return items is not None and _all_equal(items, list(value))
    if isinstance(value, dict):
        pairs = _tagged(sent, "dict")
        return pairs is not None and _same_members(pairs, [[key, item] for key, item in value.items()])
    if isinstance(value, (set, frozenset)):
        items = _tagged(sent, "set")
        return items is not None and _same_members(items, list(value))
    raise TypeError(f"a {type(value).__name__} is not an allowed expected value")


def _is_number(sent: Any) -> bool:
    return isinstance(sent, (bool, int, float))


def _tagged(sent: Any, tag: str) -> list[Any] | None:
    items = sent.get(tag) if isinstance(sent, dict) else None
    return items if isinstance(items, list) else None


def _all_equal(sent: list[Any], values: list[Any]) -> bool:
    return len(sent) == len(values) and all(map(_equal, sent, values))


def _same_members(sent: list[Any], values: list[Any]) -> bool:
    return len(sent) == len(values) and all(any(_equal(item, value) for item in sent) for value in values)
