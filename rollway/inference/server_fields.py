"""What a server adds to its own message and calls: signatures, encrypted thoughts, fields that nobody knows.

Some servers refuse a history that lacks them. They go back as they came, to the server that sent them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rollway.trajectory import THOUGHT_FIELDS, Message, ServerFields

_READ = frozenset({"role", "content", "tool_calls", "function_call"})
_READ_OF_CALLS = frozenset({"id", "type", "function"})
_READ_OF_FUNCTIONS = frozenset({"name", "arguments"})


def read_server_fields(message: bytes | msgspec.Raw, thought: str | None) -> ServerFields | None:
    """What stands in a reply's message beside its text and its calls; None where nothing does.

    ``thought`` is the plain text that was read from it; a field with that very text is kept by its name.
    """
    fields = msgspec.json.decode(message)
    if not isinstance(fields, dict):
        return None
    own = _beside(fields, _READ)
    thoughts = [name for name in THOUGHT_FIELDS if thought and own.get(name) == thought]
    for name in thoughts:
        del own[name]
    content = fields.get("content")
    if isinstance(content, list) and any(_is_more_than_text(part) for part in content):
        own["content"] = content
    written = fields.get("tool_calls")
    calls = [_beside_call(call) for call in written] if isinstance(written, list) else []
    if not own and not thoughts and not any(calls):
        return None
    return ServerFields(message=own, thoughts=thoughts, calls=calls if any(calls) else [])


def with_server_fields(message: Message, own: ServerFields) -> Message:
    """A message of the record as the server that sent it is shown it again."""
    shown = dict(message)
    thought = shown.get("reasoning_content")
    if own.thoughts or any(name in own.message for name in (*THOUGHT_FIELDS, "content")):
        shown.pop("reasoning_content", None)
    if thought is not None:
        shown |= dict.fromkeys(own.thoughts, thought)
    shown |= own.message
    if own.calls and shown.get("tool_calls"):
        calls = shown["tool_calls"]
        joined = [_joined(call, more) for call, more in zip(calls, own.calls, strict=False)]
        shown["tool_calls"] = joined + calls[len(joined) :]
    return shown


def without_thought(own: ServerFields) -> ServerFields:
    """The same without the thought's plain text: the reply's thought is no longer what the server said."""
    message = {name: value for name, value in own.message.items() if name not in THOUGHT_FIELDS}
    return ServerFields(message=message, calls=own.calls)


def _joined(call: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    function = {**call["function"], **more.get("function", {})}
    return {**call, **more, "function": function} if more else call


def _beside(fields: dict[str, Any], read: frozenset[str]) -> dict[str, Any]:
    """What says something: null and empty lists are how servers write that there is nothing."""
    return {name: value for name, value in fields.items() if name not in read and value not in (None, [], {})}


def _beside_call(call: Any) -> dict[str, Any]:
    if not isinstance(call, dict):
        return {}
    own = _beside(call, _READ_OF_CALLS)
    function = call.get("function")
    more = _beside(function, _READ_OF_FUNCTIONS) if isinstance(function, dict) else {}
    return own | {"function": more} if more else own


def _is_more_than_text(part: Any) -> bool:
    return isinstance(part, dict) and (part.get("type", "text") != "text" or len(part) > 2)
