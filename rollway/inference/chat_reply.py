"""From the bytes of a chat reply to a `Completion`, for every shape that vLLM, SGLang and others write.

Only the fields that are needed are decoded, strictly at first, and leniently where that fails. What the
server did not say stays ``None``, and what it did say is kept to the letter: arguments of tool calls, and ids
and logprobs even where their numbers differ.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from rollway.inference.bodies import NOT_JSON, decode_leniently, id_of, is_cut, unreadable
from rollway.inference.endings import Finish, fault_in_reply, word_of
from rollway.inference.errors import InvalidReply
from rollway.inference.faults import one_line, refusal_of, refused_try
from rollway.inference.protocol import Completion
from rollway.inference.server_fields import read_server_fields
from rollway.inference.token_data import Logprob, TokenId, all_there
from rollway.inference.tries import TryFailed
from rollway.trajectory import ToolCall, Untrainable, Usage


class _Function(msgspec.Struct):
    needed: ClassVar[frozenset[str]] = frozenset({"arguments"})
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"null")  # a string, an object, null


class _Call(msgspec.Struct):
    needed: ClassVar[frozenset[str]] = frozenset({"function"})
    id: str | None = None
    function: _Function | None = None
    name: str | None = None  # of a flat call, which has no function
    arguments: msgspec.Raw = msgspec.Raw(b"null")


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    summary: str | None = None
    refusal: str | None = None
    thinking: str | list[_Part] | None = None  # Mistral: parts again; Anthropic: the text
    id: str | None = None  # of a call, in Anthropic's shape
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    needed: ClassVar[frozenset[str]] = frozenset({"content", "tool_calls", "function_call"})
    content: str | list[_Part | str] | None = None
    reasoning: str | None = None  # vLLM, OpenRouter
    reasoning_content: str | None = None  # SGLang, DeepSeek, older vLLM
    reasoning_details: list[_Part] | None = None  # OpenRouter
    thinking: str | None = None  # Ollama
    thinking_blocks: list[_Part] | None = None  # LiteLLM
    refusal: str | None = None  # OpenAI
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None  # OpenAI's older form of one call


class _Logprob(msgspec.Struct, gc=False):
    logprob: Logprob
    id: TokenId | None = None  # llama.cpp


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    needed: ClassVar[frozenset[str]] = frozenset(
        {"message", "token_ids", "response_token_ids", "prompt_token_ids"}
    )
    exact: ClassVar[frozenset[str]] = frozenset({"finish_reason"})
    message: msgspec.Raw = msgspec.Raw(b"null")  # a `_Message`, and what the server adds to it
    finish_reason: str | Finish | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[TokenId] | None = None  # vLLM
    response_token_ids: list[TokenId] | None = None  # SGLang
    prompt_token_ids: list[int] | None = None  # SGLang; vLLM has it at the top level
    error: Any = None  # what broke the reply off


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Metadata(msgspec.Struct):
    weight_version: str | int | None = None


class _Reply(msgspec.Struct):
    needed: ClassVar[frozenset[str]] = frozenset({"choices", "prompt_token_ids"})
    choices: list[_Choice] | None = None
    id: Any = None
    model: str | None = None
    usage: _Usage | None = None
    prompt_token_ids: list[int] | None = None
    weight_version: str | int | None = None
    metadata: _Metadata | None = None  # SGLang
    error: Any = None  # gateways answer 200 with an error inside


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    """A message that is text and nothing else, as most are: what else servers name in it is empty."""

    role: str | None = None
    content: str | None = None
    refusal: None = None
    annotations: list[None] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: list[None] | None = None
    reasoning: None = None
    reasoning_content: None = None


_PLAIN = msgspec.json.Decoder(_Plain)
_MESSAGE = msgspec.json.Decoder(_Message)
_DECODER = msgspec.json.Decoder(_Reply)
_WHAT = "chat completion"
_THOUGHTS = ("thinking", "reasoning", "redacted_thinking")
"""Types of parts that are thought and not said."""

_CALL = "tool_use"
"""The type of a part that is a call."""


class ChatReply(Completion, kw_only=True):
    """A completion as a chat endpoint gave it."""

    ids_in_logprobs: bool = False  # the sampled ids stand there only, and those of the prompt nowhere


def read_chat_reply(body: bytes, *, server: str, model: str, max_tokens: int | None = None) -> ChatReply:
    """Decode one reply. ``max_tokens`` were asked for.

    Raises:
        TryFailed: with `InvalidReply` when it is no chat completion with exactly one choice, or with the
            error that the server wrote into it.
    """
    odd = False  # something in it is not as it should be
    try:
        reply = _DECODER.decode(body)
    except NOT_JSON as error:
        odd, reply = True, _read_again(body, error, server, model, max_tokens)
    try:
        return _completion(reply, odd, body, server, model, max_tokens)
    except NOT_JSON as error:
        raise unreadable(server, _WHAT, body, error) from error


def _read_again(body: bytes, error: Exception, server: str, model: str, max_tokens: int | None) -> _Reply:
    """What did not decode strictly: an odd field, an error, a cut body, or nothing that can be read."""
    if is_cut(body):
        raise unreadable(server, _WHAT, body, error) from error
    try:
        return decode_leniently(body, _Reply)
    except NOT_JSON as still:
        refusal = refusal_of(body)
        if refusal is not None:
            raise refused_try(refusal, server=server, model=model, max_tokens=max_tokens) from still
        raise unreadable(server, _WHAT, body, still) from still


def _completion(
    reply: _Reply, odd: bool, body: bytes, server: str, model: str, max_tokens: int | None
) -> ChatReply:
    if not reply.choices:
        refusal = refusal_of(body)
        if refusal is not None:
            raise refused_try(refusal, server=server, model=model, max_tokens=max_tokens)
        raise _invalid(f"{server} sent a {_WHAT} without choices: {_start(body)}")
    if len(reply.choices) != 1:
        raise _invalid(
            f"{server} sent {len(reply.choices)} choices instead of one; remove 'n' from sampling.extra"
        )
    choice = reply.choices[0]
    message, plain, strange = _message(choice.message)
    odd = odd or strange
    sampled = choice.token_ids if choice.token_ids is not None else choice.response_token_ids
    prompt = reply.prompt_token_ids if reply.prompt_token_ids is not None else choice.prompt_token_ids
    entries = choice.logprobs.content if choice.logprobs else None
    untrainable: Untrainable | None = None
    ids_in_logprobs = False
    if sampled is None and entries and entries[0].id is not None:
        ids_in_logprobs = True
        sampled, untrainable = _named_ids(entries, reply.usage)
    content = _content(message)
    reasoning, calls = (None, []) if plain else (_reasoning(message), _tool_calls(message))
    fault = None
    if choice.error or reply.error or isinstance(choice.finish_reason, Finish):
        fault = fault_in_reply(
            choice.finish_reason,
            (choice.error, reply.error),
            said=bool(content or reasoning or calls or sampled),
            server=server,
            model=model,
            max_tokens=max_tokens,
        )
    if bytes(choice.message) == b"null":
        raise _invalid(f"{server} sent a {_WHAT} without a message: {_start(body)}")
    usage = _usage(reply.usage)
    if prompt is not None and 0 < usage.prompt_tokens < len(prompt):
        raise _invalid(
            f"{server} read a prompt of {usage.prompt_tokens} tokens, not the {len(prompt)} ids that it gives"
        )
    logprobs = None if entries is None else [entry.logprob for entry in entries]
    if odd and logprobs is not None:
        logprobs, unusable = all_there(logprobs)
        untrainable = untrainable or unusable
    return ChatReply(
        content=content,
        reasoning=reasoning,
        tool_calls=calls,
        finish_reason=word_of(choice.finish_reason),
        fault=fault,
        server_fields=None if plain else read_server_fields(choice.message, reasoning),
        prompt_token_ids=prompt,
        token_ids=sampled,
        ids_in_logprobs=ids_in_logprobs,
        logprobs=logprobs,
        untrainable=untrainable,
        usage=usage,
        model=reply.model or "",
        server=server,
        reply_id=id_of(reply.id),
        weight_version=_weight_version(reply),
    )


def _named_ids(entries: list[_Logprob], usage: _Usage | None) -> tuple[list[int] | None, Untrainable | None]:
    """The sampled ids from the logprobs' entries, where each has its own and there are as many as counted.

    llama.cpp has no entry for a token that ends within a character, nor for those that spell a stop string.
    """
    named = [entry.id for entry in entries if entry.id is not None]
    counted = usage.completion_tokens if usage else None
    if len(named) != len(entries) or counted not in (None, len(named)):
        return None, Untrainable.MISSING_TOKEN_IDS
    return named, None


def _content(message: _Message) -> str | None:
    content = message.content
    if isinstance(content, list):
        said = [part for part in _parts(content) if not _is_thought(part) and part.type != _CALL]
        content = _joined(said) if said or not content else None
    return content or message.refusal or content


def _parts(content: str | list[_Part | str] | None) -> list[_Part]:
    if not isinstance(content, list):
        return []
    return [_Part(text=part) if isinstance(part, str) else part for part in content]


def _is_thought(part: _Part) -> bool:
    return part.thinking is not None or part.type in _THOUGHTS


def _message(raw: msgspec.Raw) -> tuple[_Message, bool, bool]:
    """The message, whether it is text and nothing else, and whether it is not as it should be."""
    if bytes(raw) == b"null":
        return _Message(), True, False
    try:
        return _Message(content=_PLAIN.decode(raw).content), True, False
    except NOT_JSON:
        pass  # there is more to it
    try:
        return _MESSAGE.decode(raw), False, False
    except NOT_JSON:
        return decode_leniently(bytes(raw), _Message), False, True


def _reasoning(message: _Message) -> str | None:
    return (
        message.reasoning
        or message.reasoning_content
        or _joined(message.reasoning_details)
        or message.thinking
        or _joined(message.thinking_blocks)
        or _joined([part for part in _parts(message.content) if _is_thought(part)])
        or None
    )


def _joined(parts: list[_Part] | None) -> str | None:
    return None if parts is None else "".join(map(_text_of, parts))


def _text_of(part: _Part) -> str:
    thinking = _joined(part.thinking) if isinstance(part.thinking, list) else part.thinking
    return thinking or part.text or part.summary or part.refusal or ""


def _tool_calls(message: _Message) -> list[ToolCall]:
    calls = [_tool_call(call) for call in message.tool_calls or ()]
    if message.function_call is not None and not calls:
        calls.append(_tool_call(_Call(function=message.function_call)))
    used = [part for part in _parts(message.content) if part.type == _CALL]
    return calls + [ToolCall(part.id or "", part.name or "", _raw_arguments(part.input)) for part in used]


def _tool_call(call: _Call) -> ToolCall:
    function = call.function or _Function(call.name, call.arguments)
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
        prompt_tokens=max(0, usage.prompt_tokens or 0),
        completion_tokens=max(0, usage.completion_tokens or 0),
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
