"""The endpoints that take ids and give ids: what is sent to each, and how its replies are read.

A reply's ids and logprobs are the server's own, to the letter; what it does not say stays ``None``. A logprob
that belongs to another id than the one beside it, and a prompt that is not the one that was sent, make an
invalid reply.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import msgspec

from rollway.inference.bodies import NOT_JSON, decode_leniently, id_of, is_cut, unreadable
from rollway.inference.endings import Finish, fault_in_reply, word_of
from rollway.inference.faults import refusal_of, refused_try
from rollway.inference.llama_completion import DECODER as LLAMA_DECODER
from rollway.inference.llama_completion import PATH as LLAMA_PATH
from rollway.inference.llama_completion import (
    LlamaCompletion,
    check_context,
    completion_body,
    place_logprobs,
)
from rollway.inference.protocol import Completion
from rollway.inference.sampling_fields import SGLANG as SGLANG_WORDS
from rollway.inference.sampling_fields import VLLM, spell
from rollway.inference.token_data import Logprob, TokenId, all_there
from rollway.trajectory import ErrorRecord, Untrainable, Usage, VersionSpan

_Reply = TypeVar("_Reply", bound=msgspec.Struct)
_NOTHING = msgspec.Raw(b"null")
_ENDING = frozenset({"finish_reason"})


class TokenCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request, whatever the endpoint."""

    token_ids: list[int]
    server: str  # its address, for messages
    model: str
    request_id: str
    fields: dict[str, Any]  # how tokens are drawn, by vLLM's names; None leaves a field to the server
    judged: int | None = None  # what a refusal of ``max_tokens`` is held against
    neutral: bool = True  # what is not said and shapes the distribution is sent with its neutral value
    cache_salt: str | None  # keeps a prefix cache's entries of different weights apart


class TokenReply(Completion, kw_only=True):
    """A completion whose text is made of its ids; ``content`` is the server's own, where it gives one."""

    stop_reason: str | int | None = None  # the stop string or token id that ended it, where the server says
    left_out: list[int] = msgspec.field(default_factory=list)
    """Places in ``token_ids`` whose logprobs the server gives only when it is asked once more."""


@dataclass(frozen=True)
class TokenEndpoint:
    """One way to send ids. ``path`` is below the server's address, ``{api}`` being its ``/v1``."""

    name: str
    path: str
    body: Callable[[TokenCall], dict[str, Any]]
    read: Callable[[bytes, TokenCall], TokenReply]
    needs_budget: bool = False  # without max_tokens it samples a few tokens, not what is left of the context


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Span(msgspec.Struct):
    version: str | int
    start: int
    end: int


# vLLM and the embedded server: /inference/v1/generate

_GENERATE_TOP = frozenset({"priority", "reasoning_ended", "kv_transfer_params", "ec_transfer_params"})
"""Fields that stand beside the sampling parameters."""


class _GenerateLogprob(msgspec.Struct, gc=False):
    token_id: TokenId
    logprob: Logprob


class _GenerateLogprobs(msgspec.Struct):
    content: list[_GenerateLogprob] | None = None


class _GenerateChoice(msgspec.Struct):
    exact: ClassVar[frozenset[str]] = _ENDING
    needed: ClassVar[frozenset[str]] = frozenset({"token_ids"})
    token_ids: list[TokenId] | None = None
    finish_reason: str | Finish | None = None
    stop_reason: str | int | None = None
    weight_versions: list[_Span] | None = None
    logprobs: _GenerateLogprobs | None = None
    error: Any = None


class _GenerateReply(msgspec.Struct):
    needed: ClassVar[frozenset[str]] = frozenset({"prompt_token_ids"})
    choices: list[_GenerateChoice]
    request_id: Any = None
    model: str | None = None
    usage: _Usage | None = None
    prompt_token_ids: msgspec.Raw = _NOTHING
    error: Any = None


_GENERATE_DECODER = msgspec.json.Decoder(_GenerateReply)


def _generate_body(call: TokenCall) -> dict[str, Any]:
    given = spell(call.fields, VLLM, neutral=call.neutral)
    top = {name: given.pop(name) for name in _GENERATE_TOP & given.keys()}
    body = {"model": call.model, "token_ids": call.token_ids, "sampling_params": {"logprobs": 0, **given}}
    return body | _salted("cache_salt", call) | top


def _read_generate(body: bytes, call: TokenCall) -> TokenReply:
    reply, odd = _decoded(body, _GENERATE_DECODER, _GenerateReply)
    choice = _only(reply.choices)
    _check_prompt(call, reply.prompt_token_ids, reply.usage.prompt_tokens if reply.usage else None)
    entries = choice.logprobs.content if choice.logprobs else None
    if entries is not None and choice.token_ids is not None:
        _check_same([entry.token_id for entry in entries], choice.token_ids)
    logprobs, untrainable = _judged(None if entries is None else [e.logprob for e in entries], odd)
    return TokenReply(
        token_ids=choice.token_ids,
        logprobs=logprobs,
        untrainable=untrainable,
        finish_reason=word_of(choice.finish_reason),
        stop_reason=choice.stop_reason,
        fault=_fault(call, choice.finish_reason, (choice.error, reply.error), choice.token_ids),
        prompt_token_ids=call.token_ids,
        usage=_usage(reply.usage, call, choice.token_ids),
        weight_versions=_spans(choice.weight_versions, choice.token_ids),
        model=reply.model or "",
        reply_id=id_of(reply.request_id),
    )


# vLLM, the embedded server and others: /v1/completions with a prompt of ids


class _CompletionLogprobs(msgspec.Struct):
    token_logprobs: list[Logprob] | None = None


class _CompletionChoice(msgspec.Struct):
    exact: ClassVar[frozenset[str]] = _ENDING
    needed: ClassVar[frozenset[str]] = frozenset({"token_ids", "prompt_token_ids"})
    token_ids: list[TokenId] | None = None
    prompt_token_ids: msgspec.Raw = _NOTHING
    text: str | None = None
    finish_reason: str | Finish | None = None
    stop_reason: str | int | None = None
    logprobs: _CompletionLogprobs | None = None
    error: Any = None


class _CompletionReply(msgspec.Struct):
    choices: list[_CompletionChoice]
    id: Any = None
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None


_COMPLETION_DECODER = msgspec.json.Decoder(_CompletionReply)


def _completion_body(call: TokenCall) -> dict[str, Any]:
    given = spell(call.fields, VLLM, neutral=call.neutral)
    body = {"model": call.model, "prompt": call.token_ids, "logprobs": 0}
    return body | {"return_token_ids": True} | _salted("cache_salt", call) | given


def _read_completion(body: bytes, call: TokenCall) -> TokenReply:
    reply, odd = _decoded(body, _COMPLETION_DECODER, _CompletionReply)
    choice = _only(reply.choices)
    _check_prompt(call, choice.prompt_token_ids, reply.usage.prompt_tokens if reply.usage else None)
    given = choice.logprobs.token_logprobs if choice.logprobs else None
    logprobs, untrainable = _judged(given, odd)
    return TokenReply(
        content=choice.text,
        token_ids=choice.token_ids,
        logprobs=logprobs,
        untrainable=untrainable,
        finish_reason=word_of(choice.finish_reason),
        stop_reason=choice.stop_reason,
        fault=_fault(
            call, choice.finish_reason, (choice.error, reply.error), choice.token_ids or choice.text
        ),
        prompt_token_ids=call.token_ids,
        usage=_usage(reply.usage, call, choice.token_ids),
        model=reply.model or "",
        reply_id=id_of(reply.id),
    )


# SGLang: /generate

_SGLANG_TOP = frozenset(
    {"priority", "extra_key", "lora_path", "routing_key", "routed_dp_rank", "custom_logit_processor"}
)


class _Meta(msgspec.Struct):
    exact: ClassVar[frozenset[str]] = _ENDING
    id: Any = None
    finish_reason: str | Finish | None = None
    output_token_logprobs: list[tuple[Logprob, TokenId, Any]] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    weight_version: str | int | None = None
    weight_versions: list[_Span] | None = None


class _SGLangReply(msgspec.Struct):
    needed: ClassVar[frozenset[str]] = frozenset({"output_ids"})
    meta_info: _Meta
    output_ids: list[TokenId] | None = None
    text: str | None = None
    error: Any = None


_SGLANG_DECODER = msgspec.json.Decoder(_SGLangReply)


def _sglang_body(call: TokenCall) -> dict[str, Any]:
    given = spell(call.fields, SGLANG_WORDS, neutral=call.neutral)
    top = {name: given.pop(name) for name in _SGLANG_TOP & given.keys()}
    body = {
        "rid": call.request_id,
        "input_ids": call.token_ids,
        "sampling_params": {"max_new_tokens": None, **given},
        "return_logprob": True,
        "logprob_start_len": -1,  # none of the prompt's
        "stream": False,
    }
    if not call.request_id:
        del body["rid"]
    return body | _salted("extra_key", call) | top


def _read_sglang(body: bytes, call: TokenCall) -> TokenReply:
    reply, odd = _decoded(body, _SGLANG_DECODER, _SGLangReply)
    meta = reply.meta_info
    entries = meta.output_token_logprobs
    ids = reply.output_ids
    if entries is not None:
        ids = [token for _, token, _ in entries] if ids is None else ids
        _check_same([token for _, token, _ in entries], ids)
    fault = _fault(call, meta.finish_reason, (reply.error,), ids or reply.text)
    logprobs, untrainable = _judged(None if entries is None else [entry[0] for entry in entries], odd)
    if fault is None:
        _check_prompt(call, _NOTHING, meta.prompt_tokens)
    elif meta.prompt_tokens and meta.prompt_tokens != len(call.token_ids):
        untrainable = Untrainable.PROMPT_MISMATCH  # the server's own fault is told before that
    matched = meta.finish_reason.matched if isinstance(meta.finish_reason, Finish) else None
    return TokenReply(
        content=reply.text,
        token_ids=ids,
        logprobs=logprobs,
        untrainable=untrainable,
        finish_reason=word_of(meta.finish_reason),
        stop_reason=matched if isinstance(matched, (str, int)) else None,
        fault=fault,
        prompt_token_ids=call.token_ids,
        usage=Usage(
            prompt_tokens=meta.prompt_tokens or len(call.token_ids),
            completion_tokens=max(0, meta.completion_tokens or len(ids or ())),
            cached_tokens=meta.cached_tokens,
        ),
        weight_version=None if meta.weight_version is None else str(meta.weight_version),
        weight_versions=_spans(meta.weight_versions, ids),
        reply_id=id_of(meta.id),
    )


# llama.cpp: /completion

_LLAMA_FINISH = {"eos": "stop", "word": "stop", "limit": "length"}


def _read_llama(body: bytes, call: TokenCall) -> TokenReply:
    reply, odd = _decoded(body, LLAMA_DECODER, LlamaCompletion)
    _check_prompt(call, _NOTHING, reply.tokens_evaluated)
    check_context(reply, len(call.token_ids))
    ids, entries = reply.tokens, reply.completion_probabilities or []
    sampled = max(reply.tokens_predicted or 0, len(ids or ()))
    logprobs, untrainable = _judged([entry.logprob for entry in entries], odd)
    left_out: list[int] = []
    if not ids or len(ids) < sampled:
        logprobs = None  # nobody knows of which tokens they are
    elif logprobs is not None:
        placed = place_logprobs(ids, entries)
        left_out = [place for place, logprob in enumerate(placed) if logprob is None]
        logprobs = [math.nan if logprob is None else logprob for logprob in placed]
    return TokenReply(
        content=reply.content,
        token_ids=ids,
        logprobs=logprobs,
        left_out=left_out,
        untrainable=untrainable,
        finish_reason=_LLAMA_FINISH.get(reply.stop_type, reply.stop_type),
        stop_reason=ids[-1] if ids and reply.stop_type == "eos" else reply.stopping_word or None,
        fault=_fault(call, reply.stop_type, (reply.error,), ids or reply.content),
        prompt_token_ids=call.token_ids,
        usage=Usage(
            prompt_tokens=len(call.token_ids),
            completion_tokens=sampled,
            cached_tokens=reply.timings.cache_n if reply.timings else None,
        ),
        model=reply.model or "",
    )


def _llama_body(call: TokenCall) -> dict[str, Any]:
    return completion_body(call.token_ids, call.fields, neutral=call.neutral)


GENERATE = TokenEndpoint("generate", "/inference/v1/generate", _generate_body, _read_generate)
COMPLETIONS = TokenEndpoint(
    "completions", "{api}/completions", _completion_body, _read_completion, needs_budget=True
)
SGLANG = TokenEndpoint("sglang", "/generate", _sglang_body, _read_sglang)
LLAMA = TokenEndpoint("llama", LLAMA_PATH, _llama_body, _read_llama)

ENDPOINTS = {endpoint.name: endpoint for endpoint in (GENERATE, SGLANG, LLAMA, COMPLETIONS)}
"""By name, in the order in which they are looked for."""


_WHAT = "reply with token ids"


def read_reply(endpoint: TokenEndpoint, body: bytes, call: TokenCall, *, server: str) -> TokenReply:
    """Decode one reply.

    Raises:
        TryFailed: with `InvalidReply`, when it is none, or contradicts itself or what was asked; or with the
            error that the server wrote into it.
    """
    try:
        reply = endpoint.read(body, call)
    except (*NOT_JSON, ValueError) as error:
        refusal = None if is_cut(body) else refusal_of(body)
        if refusal is not None and isinstance(error, NOT_JSON):
            raise refused_try(refusal, server=server, **_asked(call)) from error
        raise unreadable(server, _WHAT, body, error) from error
    reply.server = server
    return reply


def _decoded(body: bytes, decoder: msgspec.json.Decoder[_Reply], kind: type[_Reply]) -> tuple[_Reply, bool]:
    """The reply, and whether something in it is not as it should be."""
    try:
        return decoder.decode(body), False
    except NOT_JSON:
        if is_cut(body):
            raise
        return decode_leniently(body, kind), True


def _judged(logprobs: list[float] | None, odd: bool) -> tuple[list[float] | None, Untrainable | None]:
    return all_there(logprobs) if odd and logprobs is not None else (logprobs, None)


def _asked(call: TokenCall) -> dict[str, Any]:
    return {"model": call.model, "max_tokens": call.judged, "sent": len(call.token_ids)}


def _fault(
    call: TokenCall, finish: str | Finish | None, errors: Sequence[Any], said: Sequence[int] | str | None
) -> ErrorRecord | None:
    if not isinstance(finish, Finish) and not any(errors):
        return None
    return fault_in_reply(finish, errors, said=bool(said), server=call.server, **_asked(call))


def _check_prompt(call: TokenCall, ids: msgspec.Raw, count: int | None) -> None:
    """A server may cut a prompt, or put another in its place, and answer all the same."""
    sent = len(call.token_ids)
    given = bytes(ids)
    if given != b"null" and given.replace(b" ", b"") != msgspec.json.encode(call.token_ids):
        read = msgspec.json.decode(given, type=list[int])
        if read != call.token_ids:
            raise ValueError(
                f"the server read a prompt of {len(read)} ids that differ from the {sent} that were sent"
            )
    if count and count != sent:
        raise ValueError(f"the server read a prompt of {count} tokens, not the {sent} ids that were sent")


def _only(choices: Sequence[Any]) -> Any:
    if not choices:
        raise msgspec.ValidationError("it has no choices")
    if len(choices) != 1:
        raise ValueError(f"{len(choices)} choices instead of one; remove 'n' from sampling.extra")
    return choices[0]


def _check_same(named: list[int], sampled: list[int]) -> None:
    """Only as far as both go: different lengths are judged where all token data is."""
    length = min(len(named), len(sampled))
    if named[:length] != sampled[:length]:
        raise ValueError("its logprobs do not match its sampled ids")


def _spans(spans: Sequence[_Span] | None, ids: Sequence[int] | None) -> list[VersionSpan]:
    """The spans, which must lie one behind the other over all ids."""
    if not spans or ids is None:
        return []
    end = 0
    for span in spans:
        if span.start != end or span.end < span.start:
            raise ValueError("its weight_versions are not consecutive")
        end = span.end
    if end != len(ids):
        raise ValueError(f"its weight_versions cover {end} tokens, but {len(ids)} were sampled")
    return [VersionSpan(str(span.version), span.start, span.end) for span in spans if span.end > span.start]


def _salted(field: str, call: TokenCall) -> dict[str, str]:
    return {} if call.cache_salt is None else {field: call.cache_salt}


def _usage(usage: _Usage | None, call: TokenCall, ids: Sequence[int] | None) -> Usage:
    if usage is None:
        return Usage(prompt_tokens=len(call.token_ids), completion_tokens=len(ids or ()))
    details = usage.prompt_tokens_details
    return Usage(
        prompt_tokens=max(0, usage.prompt_tokens or 0),
        completion_tokens=max(0, usage.completion_tokens or 0),
        cached_tokens=details.cached_tokens if details else None,
    )
