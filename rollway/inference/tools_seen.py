"""Whether the model is shown the tools of a request: its template may have no place for them.

The prompt of a short conversation is made with a tool and without. Where they are alike, tools are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rollway.errors import UserError
from rollway.inference.chat_template import ChatTemplate, TemplateFailure
from rollway.inference.transport import Timeouts, Transport
from rollway.inference.tries import TryFailed
from rollway.trajectory import Message

_HELLO: list[Message] = [{"role": "user", "content": "Hello."}]
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "probe",
        "description": "Is shown to the model, or not.",
        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    },
}
_TIMES = Timeouts(connect=30, total=30)


def template_shows_tools(template: ChatTemplate, variables: Mapping[str, Any] | None = None) -> bool:
    """Whether a folder's template writes a tool into the prompt. One that refuses tools shows none."""
    values = variables or {}
    plain = _rendered(template, None, values)
    return _rendered(template, [_TOOL], values) not in (plain, None)


def folder_shows_tools(folder: Path) -> bool | None:
    """The same for a model's folder; None where it has no template that can be read."""
    try:
        return template_shows_tools(ChatTemplate(folder))
    except UserError:
        return None


def _rendered(
    template: ChatTemplate, tools: list[dict[str, Any]] | None, values: Mapping[str, Any]
) -> str | None:
    try:
        return template.render(_HELLO, tools, **values)
    except TemplateFailure:
        return None


async def server_shows_tools(transport: Transport, model: str) -> bool | None:
    """Whether a server's prompts hold tools, as ``/tokenize`` (vLLM, `rollway serve`), ``/apply-template`` or
    ``/props`` (llama.cpp) say; None where none of them does, or the server cannot be reached.

    A server is only asked what it is known to answer: vLLM and ours open ``/version``, llama.cpp ``/props``.
    """
    props = await _got(transport, "/props")
    if props is not None:
        shown = await _differs(transport, "/apply-template", model, "prompt")
        return _source_shows_tools(props.get("chat_template")) if shown is None else shown
    if await _got(transport, "/version") is not None:
        return await _differs(transport, "/tokenize", model, "tokens")
    return None


async def _differs(transport: Transport, path: str, model: str, field: str) -> bool | None:
    """Whether the prompt that an endpoint gives in ``field`` is another with a tool; None: it gives none."""
    plain: dict[str, Any] = {"model": model, "messages": _HELLO}
    prompts = []
    for body in (plain, {**plain, "tools": [_TOOL]}):
        try:
            reply = await transport.post(path, msgspec.json.encode(body), {})
        except TryFailed:
            return None
        answer = _object(reply.body) if reply.status == 200 else None
        if answer is None or not answer.get(field):
            return None
        prompts.append(answer[field])
    return bool(prompts[0] != prompts[1])


async def _got(transport: Transport, path: str) -> dict[str, Any] | None:
    try:
        reply = await transport.get(path, _TIMES)
    except TryFailed:
        return None
    return _object(reply.body) if reply.status == 200 else None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _source_shows_tools(source: Any) -> bool | None:
    """A template that never speaks of tools has no place for them; of any other nothing is known."""
    return False if isinstance(source, str) and source and "tools" not in source else None
