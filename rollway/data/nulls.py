"""Which nulls of a row are absent keys.

An Arrow table has every member of a struct in every row: one that a row lacked is null there, and so is one
that was null. The rule: a null member of a nested struct is an absent key. A null column stays, as ``None``,
because a row has all columns of its table; so does the null ``content`` of a message, which says something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def without_null_members(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of an Arrow table as a task; maps become dicts."""
    return {name: _settled(value) for name, value in row.items()}


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _settled(inner)
            for name, inner in value.items()
            if inner is not None or (name == "content" and "role" in value)
        }
    if isinstance(value, list):
        if value and isinstance(value[0], tuple):  # an Arrow map: only there are tuples
            return {name: _settled(inner) for name, inner in value}
        return [_settled(inner) for inner in value] if value and _is_nested(value) else value
    return value


def _is_nested(values: list[Any]) -> bool:
    return any(isinstance(value, dict | list) for value in values)
