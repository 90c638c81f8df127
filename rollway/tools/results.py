"""What a tool returned, as text for the model.

A value becomes plain by the rules of `rollway.plain_values`. One that loses something by them is an error of
its own, so that the model is told nothing else than was returned; and every text is valid UTF-8.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from rollway.plain_values import plain, printable
from rollway.tools.definition import ToolOutput

__all__ = ["NotJson", "ToolAnswer", "cut_middle", "printable", "read_output"]


class NotJson(TypeError):
    """A tool returned what JSON cannot say."""


class ToolAnswer(msgspec.Struct, frozen=True):
    """A tool's return value, read."""

    content: str
    ok: bool = True
    stop: bool = False


def read_output(value: Any) -> ToolAnswer:
    """Text as it is, ``None`` as ``""``, other values as compact JSON.

    A dict with a true ``"error"`` is not ok.

    Raises:
        NotJson: the value, or a part of it, cannot be converted to JSON (NaN has none).
    """
    if isinstance(value, ToolOutput):
        return ToolAnswer(_text(value.content), value.ok, value.stop)
    return ToolAnswer(_text(value), ok=not (isinstance(value, dict) and bool(value.get("error"))))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return _json(value)
    except (TypeError, ValueError, RecursionError):  # not plain as it is
        made, lost = plain(value, "it")
    if lost:
        raise NotJson(f"it returned a {type(value).__name__} that cannot be written as JSON: {lost[0]}")
    return made if isinstance(made, str) else _json(made)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def cut_middle(text: str, limit: int, note: str = "") -> str:
    """At most ``limit`` characters: the beginning, a line that says how much is missing, and the end.

    Where ``limit`` has no room for that line, the line alone. ``note`` stands in that line.
    """
    if len(text) <= limit:
        return text
    kept = max(0, limit - len(_gap(len(text), note)))  # the longest that the line can be
    head = (kept + 1) // 2
    tail = len(text) - (kept - head)
    return text[:head] + _gap(tail - head, note) + text[tail:]


def _gap(cut: int, note: str) -> str:
    return f"\n[... {cut} characters cut{note} ...]\n"
