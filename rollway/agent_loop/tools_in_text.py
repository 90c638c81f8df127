"""A conversation with its tools, calls and results as text, for templates that drop or refuse them.

Tools stand in the system message, results in a user message, calls in the assistant's own words as it wrote
them. A reply stays the last of the messages that stand for it, so token mode builds on the very ids as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollway.inference.chat_request import wire_arguments
from rollway.tool_parsers import ToolParser
from rollway.tool_parsers.prompting import results_text, tools_text
from rollway.trajectory import Message, ToolCall

_SYSTEM = ("system", "developer")


def told_in_text(
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]],
    parser: ToolParser,
    written: Mapping[int, str],
    *,
    system: bool = True,
) -> list[Message]:
    """The messages as ``parser``'s format says them in text.

    Args:
        written: what the model wrote, by the place of its message, where calls were read from it.
        system: whether the template takes a system message; else the tools begin the first message.
    """
    text = tools_text(parser, tools) if tools else ""
    own = bool(messages) and messages[0].get("role") in _SYSTEM
    told: list[Message] = []
    if text and not own and system:
        told.append({"role": "system", "content": text})
    in_results = False  # the last message holds results
    for place, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if place == 0 and text and own:
            told.append({**message, "content": _joined(content, text)})
        elif place == 0 and text and not system:
            told.append({**message, "content": _joined(text, content)})
        elif role == "tool":
            block = results_text(parser, [_text(content)])
            if in_results:
                told[-1] = {**told[-1], "content": f"{told[-1]['content']}\n{block}"}
            else:
                told.append({"role": "user", "content": block})
            in_results = True
            continue
        elif role == "user" and in_results:  # many templates take no two messages of a user's in a row
            told[-1] = {**told[-1], "content": _joined(told[-1]["content"], content)}
        elif role == "assistant":
            told.append(_reply(message, parser, written.get(place)))
        else:
            told.append(message)
        in_results = False
    return told


def _reply(message: Message, parser: ToolParser, written: str | None) -> Message:
    calls = message.get("tool_calls")
    if written is None and not calls:
        return message
    if written is None:
        content = message.get("content")
        written = parser.render([_call(call) for call in calls or ()], _text(content) or None)
    return {**{name: value for name, value in message.items() if name != "tool_calls"}, "content": written}


def _call(call: dict[str, Any]) -> ToolCall:
    function = call.get("function") or {}
    return ToolCall(
        str(call.get("id") or ""), str(function.get("name")), wire_arguments(function.get("arguments"))
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(
            str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content
        )
    return "" if content is None else str(content)


def _joined(first: Any, second: Any) -> Any:
    """Two contents as one, a line left free between them; parts stay parts."""
    if isinstance(first, list) or isinstance(second, list):
        return [*_parts(first), *_parts(second)]
    return "\n\n".join(text for text in (_text(first), _text(second)) if text)


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": _text(content)}]
