"""What a tool returned, as text for the model.

A value that JSON cannot say is an error of its own rather than a ``repr``, and every text is valid UTF-8.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from rollway.tools.definition import ToolOutput


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
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain)
    except RecursionError:
        raise NotJson(f"it returned a {type(value).__name__} that is nested too deeply for JSON") from None
    except (TypeError, ValueError) as error:
        raise NotJson(
            f"it returned a {type(value).__name__} that cannot be written as JSON: {error}"
        ) from None


def _plain(value: Any) -> Any:
    """Builtins for what `json` does not know: dataclasses, pydantic models, sets, dates, arrays."""
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, torch tensors
        return value.tolist()
    from pydantic_core import PydanticSerializationError, to_jsonable_python  # slow to import

    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise TypeError(f"{type(value).__name__} cannot be converted to JSON") from None


def printable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot say, replaced."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


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
