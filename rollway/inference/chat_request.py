"""From a `CompletionRequest` to the body of a chat request. The caller's messages are never changed.

What goes over the wire differs from what is given in four ways only, each because servers refuse it as it is:
the field that carries reasoning in history, tool arguments that are no JSON object, empty lists of calls, and
keys that are only there because a table has them. A message that needs none of this is sent as it is, without
a copy.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from rollway.absent_keys import present_message, present_schema
from rollway.inference.errors import BadRequest
from rollway.inference.protocol import SHAPING, CompletionRequest
from rollway.inference.sampling_fields import VLLM, Spelling, spell
from rollway.trajectory import THOUGHT_FIELDS, Message

ReasoningField = Literal["auto", "reasoning_content", "reasoning", "none"]
"""The name under which reasoning in history is sent. ``auto``: the server's own name for it where the server
sent it, else ``reasoning_content``. ``none`` leaves it out."""

MALFORMED_ARGUMENTS = "malformed_arguments"
"""Arguments that are no JSON object are sent as the value of this key."""

_ENCODER = msgspec.json.Encoder()


class ChatFormat(msgspec.Struct, frozen=True, kw_only=True):
    """How one server wants to be asked."""

    logprobs: bool = True  # ask for the logprob of each sampled token
    return_token_ids: bool = True  # ask for the ids of the prompt and of the sampled tokens
    history_reasoning: ReasoningField = "auto"
    max_tokens_field: str = "max_tokens"
    special_tokens: bool = True  # may be asked to leave special tokens in the text
    spelling: Spelling = VLLM


def chat_body(request: CompletionRequest, model: str, form: ChatFormat) -> dict[str, Any]:
    """The body as a dict; ``request.sampling.extra`` stands over all other fields."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": wire_messages(request.messages, form.history_reasoning),
    }
    if request.tools:
        body["tools"] = [present_schema(tool) for tool in request.tools]
    if request.special_tokens and form.special_tokens:
        body["skip_special_tokens"] = False  # vLLM, SGLang; llama.cpp has a flag of its own, --special
    shaping = {name: getattr(sampling, name) for name in SHAPING}
    body |= spell(shaping, form.spelling, neutral=sampling.defaults == "neutral")
    optional = {
        form.max_tokens_field: sampling.max_tokens,
        "stop": sampling.stop,
        "seed": sampling.seed,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    if form.logprobs:
        body["logprobs"] = True
    if form.return_token_ids:
        body["return_token_ids"] = True
    return body | sampling.extra


_MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")


def asked_tokens(body: dict[str, Any], form: ChatFormat) -> int | None:
    """The ``max_tokens`` of a body, under whatever name."""
    named = (body.get(name) for name in (form.max_tokens_field, *_MAX_TOKENS_FIELDS))
    return next((value for value in named if isinstance(value, int)), None)


def with_tokens(body: dict[str, Any], form: ChatFormat, max_tokens: int | None) -> dict[str, Any]:
    """The body with another ``max_tokens``; None leaves it out."""
    names = {form.max_tokens_field, *_MAX_TOKENS_FIELDS}
    used = [name for name in body if name in names] or [form.max_tokens_field]
    rest = {name: value for name, value in body.items() if name not in names}
    return rest if max_tokens is None else rest | dict.fromkeys(used, max_tokens)


def encode_body(body: dict[str, Any]) -> bytes:
    """The body as JSON.

    Raises:
        BadRequest: a message, a tool or ``sampling.extra`` holds what JSON cannot say.
    """
    try:
        return _ENCODER.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadRequest(
            f"cannot write the request as JSON: {error}; check messages, tools and sampling.extra"
        ) from error


def wire_messages(messages: list[Message], reasoning: ReasoningField) -> list[Message]:
    """The messages as they are sent; those that need a change are copies."""
    return [_wire_message(present_message(message), reasoning) for message in messages]


def _wire_message(message: Message, reasoning: ReasoningField) -> Message:
    if message.get("role") != "assistant":
        return message
    changes: dict[str, Any] = {}
    dropped = set[str]()
    if reasoning != "auto":
        dropped = {name for name in THOUGHT_FIELDS if name in message and name != reasoning}
    if dropped and reasoning != "none":
        changes[reasoning] = next((message[name] for name in THOUGHT_FIELDS if message.get(name)), "")
    calls = message.get("tool_calls")
    if calls:
        wired = [_wire_call(call) for call in calls]
        if any(new is not old for new, old in zip(wired, calls, strict=True)):
            changes["tool_calls"] = wired
    elif "tool_calls" in message:
        dropped.add("tool_calls")
    if not changes and not dropped:
        return message
    return {name: value for name, value in message.items() if name not in dropped} | changes


def _wire_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    sent = wire_arguments(arguments)
    return call if sent is arguments else {**call, "function": {**function, "arguments": sent}}


def wire_arguments(arguments: Any) -> str:
    """Tool arguments as a string that holds a JSON object, whatever the model wrote.

    The very same string where it already does; ``{}`` for nothing at all; an object as its JSON; anything
    else as ``{"malformed_arguments": "<the raw text>"}``, so that the model still sees what it wrote.
    """
    if arguments is None or arguments == "":
        return "{}"
    if isinstance(arguments, str):
        return arguments if _is_json_object(arguments) else _dumps({MALFORMED_ARGUMENTS: arguments})
    text = _dumps(arguments)
    return text if isinstance(arguments, dict) else _dumps({MALFORMED_ARGUMENTS: text})


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False


def _dumps(value: Any) -> str:
    return _ENCODER.encode(value).decode()
