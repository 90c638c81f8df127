"""What the ways back (``render``) of several formats share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rollway.tool_parsers.format import RenderFunction
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


def each_call(
    before: str, after: str, *, separator: str = "\n", arguments_key: str = "arguments"
) -> RenderFunction:
    """The way back of a format that puts each call's `named_object` between tags."""

    def render(calls: Sequence[ToolCall], content: str | None = None) -> str:
        blocks = [f"{before}{named_object(call, arguments_key)}{after}" for call in calls]
        return after_content(content, separator.join(blocks))

    return render


def one_list(before: str, after: str) -> RenderFunction:
    """The way back of a format that puts one list of all `named_object` between tags."""

    def render(calls: Sequence[ToolCall], content: str | None = None) -> str:
        items = ", ".join(named_object(call) for call in calls)
        return after_content(content, f"{before}[{items}]{after}" if calls else "")

    return render


def quote(text: str) -> str:
    """A JSON string."""
    return json.dumps(text, ensure_ascii=False)


def plain_name(call: ToolCall, forbidden: str) -> str:
    """The call's name, for formats that write it without quotes.

    Raises:
        ValueError: it is empty, has white space at an end, or holds a line break or one of ``forbidden``.
    """
    name = call.name
    if not name or name != name.strip() or any(character in name for character in "\n\r" + forbidden):
        raise ValueError(f"this format cannot write a tool named {name!r}")
    return name


def after_content(content: str | None, calls: str, separator: str = "\n") -> str:
    """The content, then the calls, with ``separator`` between them unless the content ends with it."""
    if not content or not calls:
        return (content or "") + calls
    return f"{content}{calls}" if content.endswith(separator) else f"{content}{separator}{calls}"
