"""What the ways back (``render``) of several formats share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rollway.trajectory import ToolCall


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call that is to be written.

    Raises:
        ValueError: they are no JSON object.
    """
    try:
        value = json.loads(call.arguments or "{}", strict=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the arguments of {call.name!r} are no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"the arguments of {call.name!r} are no JSON object: {call.arguments[:80]!r}")
    return value


def argument_json(call: ToolCall) -> str:
    """The arguments as they were written, checked to be a JSON object.

    Raises:
        ValueError: they are no JSON object.
    """
    arguments_of(call)
    return call.arguments.strip() or "{}"


def named_object(call: ToolCall, arguments_key: str = "arguments") -> str:
    """``{"name": ..., "arguments": ...}``, the arguments as they were written."""
    return f'{{"name": {quote(call.name)}, "{arguments_key}": {argument_json(call)}}}'


def named_list(calls: Sequence[ToolCall], arguments_key: str = "arguments") -> str:
    """A JSON list of `named_object`."""
    return "[" + ", ".join(named_object(call, arguments_key) for call in calls) + "]"


def quote(text: str) -> str:
    """A JSON string."""
    return json.dumps(text, ensure_ascii=False)


def after_content(content: str | None, calls: str) -> str:
    """The content, then the calls on a line of their own."""
    if not content or not calls:
        return (content or "") + calls
    return f"{content}{calls}" if content.endswith("\n") else f"{content}\n{calls}"
