"""Keys that are there only because a table has a column for them: absent, where their value is ``None``.

A list of messages or tool schemas that went through an Arrow table comes back with every key of every row.
Servers and templates take such a key for something that was said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MEANT = frozenset({"default", "const", "enum", "examples"})
"""Keywords of a schema under which ``None`` may be meant."""


def present_message(message: dict[str, Any]) -> dict[str, Any]:
    """A chat message without absent keys, in itself, its calls and its parts; itself where it has none.

    A content that is ``None`` says that there is no text, and stays. So does what arguments hold.
    """
    if (
        None not in message.values()
        and isinstance(message.get("content"), str)
        and "tool_calls" not in message
    ):
        return message  # as nearly all are
    changed = {name: _present_items(message[name]) for name in ("content", "tool_calls") if name in message}
    same = all(value is message[name] for name, value in changed.items())
    if same and not any(value is None and name != "content" for name, value in message.items()):
        return message
    present = {name: value for name, value in message.items() if value is not None or name == "content"}
    return present | {name: value for name, value in changed.items() if name in present}


def _present_items(items: Any) -> Any:
    """A list of calls or parts, each without absent keys; the list itself where there are none."""
    if not isinstance(items, list):
        return items
    present = [_present_item(item) if isinstance(item, dict) else item for item in items]
    return items if all(new is old for new, old in zip(present, items, strict=True)) else present


def _present_item(item: dict[str, Any]) -> dict[str, Any]:
    function = item.get("function")
    inner = function
    if isinstance(function, dict) and _lacks(function, "arguments"):
        inner = {name: value for name, value in function.items() if value is not None or name == "arguments"}
    if inner is function and not _lacks(item):
        return item
    item = {name: value for name, value in item.items() if value is not None}
    return item | {"function": inner} if inner is not None else item


def _lacks(values: Mapping[str, Any], *but: str) -> bool:
    return any(value is None and name not in but for name, value in values.items())


def present_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A tool's definition, or its JSON schema, without absent keys; itself where it has none.

    A ``default`` of ``None`` is meant, unless some other keyword is ``None``: then the schema went through a
    table.
    """
    if not _has_absent(schema):
        return schema
    return {name: _present_node(value) for name, value in schema.items() if value is not None}


def _has_absent(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_has_absent, node))
    if not isinstance(node, dict):
        return False
    return any(name not in _MEANT and (value is None or _has_absent(value)) for name, value in node.items())


def _present_node(node: Any) -> Any:
    if isinstance(node, list):
        return [_present_node(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        name: value if name in _MEANT else _present_node(value)
        for name, value in node.items()
        if value is not None
    }
