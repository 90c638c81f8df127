"""From the bytes of a chat reply to a `Completion`, for every shape that vLLM, SGLang and others write.

Only the fields that are needed are decoded. What the server did not say stays ``None``, and what it did say
is kept to the letter: arguments of tool calls, and ids and logprobs even where their numbers differ.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rollway.inference.errors import InvalidReply
from rollway.inference.faults import failed_try, one_line, read_fault
from rollway.inference.protocol import Completion
from rollway.inference.retry import TryFailed
from rollway.trajectory import ToolCall, Usage


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"null")  # a string, an object, null


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Part(msgspec.Struct):
    text: str | None = None
    summary: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    reasoning: str | None = None  # vLLM, OpenRouter
    reasoning_content: str | None = None  # SGLang, DeepSeek, older vLLM
    reasoning_details: list[_Part] | None = None  # OpenRouter
    tool_calls: list[_Call] | None = None


class _Logprob(msgspec.Struct, gc=False):
    logprob: float
    id: int | None = None  # llama.cpp


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None  # vLLM
    response_token_ids: list[int] | None = None  # SGLang
    prompt_token_ids: list[int] | None = None  # SGLang; vLLM has it at the top level


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Metadata(msgspec.Struct):
    weight_version: str | int | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: _Usage | None = None
    prompt_token_ids: list[int] | None = None
    weight_version: str | int | None = None
    metadata: _Metadata | None = None  # SGLang
    error: Any = None  # gateways answer 200 with an error inside


_DECODER = msgspec.json.Decoder(_Reply)


class ChatReply(Completion, kw_only=True):
    """A completion as a chat endpoint gave it."""

    ids_in_logprobs: bool = False  # the sampled ids stand there only, and those of the prompt nowhere


def read_chat_reply(body: bytes, *, server: str, model: str) -> ChatReply:
    """Decode one reply.

    Raises:
        TryFailed: with `InvalidReply` when it is no chat completion with exactly one choice, or with the
            error that the server wrote into it.
    """
    try:
        return _completion(_DECODER.decode(body), body, server, model)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(
            f"{server} sent what is no chat completion: {error}; it begins {_start(body)}"
        ) from error


def _completion(reply: _Reply, body: bytes, server: str, model: str) -> ChatReply:
    if not reply.choices and reply.error is not None:
        status = read_fault(body).status or 502
        raise failed_try(status, body, {}, server=server, model=model)
    if not reply.choices or len(reply.choices) != 1:
        found = len(reply.choices or ())
        raise _invalid(
            f"{server} sent {found} choices where one was asked for; leave 'n' out of sampling.extra"
        )
    choice = reply.choices[0]
    message = choice.message
    prompt = reply.prompt_token_ids if reply.prompt_token_ids is not None else choice.prompt_token_ids
    logprobs = choice.logprobs.content if choice.logprobs else None
    sampled = choice.token_ids if choice.token_ids is not None else choice.response_token_ids
    named = _named_ids(logprobs, reply.usage) if sampled is None else None
    return ChatReply(
        content=_joined(message.content) if isinstance(message.content, list) else message.content,
        reasoning=_reasoning(message),
        tool_calls=[_tool_call(call) for call in message.tool_calls or ()],
        finish_reason=choice.finish_reason or "",
        prompt_token_ids=prompt,
        token_ids=named if sampled is None else sampled,
        ids_in_logprobs=named is not None,
        logprobs=None if logprobs is None else [entry.logprob for entry in logprobs],
        usage=_usage(reply.usage),
        model=reply.model or "",
        server=server,
        weight_version=_weight_version(reply),
    )


def _named_ids(entries: list[_Logprob] | None, usage: _Usage | None) -> list[int] | None:
    """The sampled ids from the logprobs' entries, where each has its own and there are as many as counted.

    llama.cpp has no entry for a token that ends within a character, nor for those that spell a stop string.
    """
    named = [entry.id for entry in entries or () if entry.id is not None]
    counted = usage.completion_tokens if usage else None
    if not entries or len(named) != len(entries) or counted not in (None, len(named)):
        return None
    return named


def _reasoning(message: _Message) -> str | None:
    return message.reasoning or message.reasoning_content or _joined(message.reasoning_details) or None


def _joined(parts: list[_Part] | None) -> str | None:
    return None if parts is None else "".join(part.text or part.summary or "" for part in parts)


def _tool_call(call: _Call) -> ToolCall:
    function = call.function or _Function()
    return ToolCall(id=call.id or "", name=function.name or "", arguments=_raw_arguments(function.arguments))


def _raw_arguments(raw: msgspec.Raw) -> str:
    """The string's text, or the JSON of anything else exactly as the server wrote it; nothing is ``""``."""
    text = bytes(raw)
    if text == b"null":
        return ""
    return msgspec.json.decode(text, type=str) if text.startswith(b'"') else text.decode()


def _usage(usage: _Usage | None) -> Usage:
    if usage is None:
        return Usage()
    details = usage.prompt_tokens_details
    return Usage(
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens=details.cached_tokens if details else None,
    )


def _weight_version(reply: _Reply) -> str | None:
    version = reply.weight_version
    if version is None and reply.metadata is not None:
        version = reply.metadata.weight_version
    return None if version is None else str(version)


def _invalid(message: str) -> TryFailed:
    return TryFailed(InvalidReply(message), retry=False)


def _start(body: bytes) -> str:
    return repr(one_line(body[:100].decode("utf-8", "replace"))) if body else "with nothing"
