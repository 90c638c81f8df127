"""The endpoints that take ids and give ids: what is sent to each, and how its replies are read.

A reply's ids and logprobs are the server's own, to the letter; what it does not say stays ``None``, and a
logprob that belongs to another id than the one beside it is an invalid reply.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rollway.inference.errors import InvalidReply
from rollway.inference.faults import one_line
from rollway.inference.llama_completion import PATH as LLAMA_PATH
from rollway.inference.llama_completion import completion_body, place_logprobs, read_completion
from rollway.inference.protocol import Completion
from rollway.inference.retry import TryFailed
from rollway.trajectory import Usage, VersionSpan


class TokenCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request, whatever the endpoint."""

    token_ids: list[int]
    model: str
    request_id: str
    fields: dict[str, Any]  # how tokens are drawn, by vLLM's names; None leaves a field to the server
    cache_salt: str | None  # keeps a prefix cache's entries of different weights apart


class TokenReply(Completion, kw_only=True):
    """A completion without text."""

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


class _Usage(msgspec.Struct):
    class Details(msgspec.Struct):
        cached_tokens: int | None = None

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None


class _Span(msgspec.Struct):
    version: str | int
    start: int
    end: int


# vLLM and the embedded server: /inference/v1/generate

_GENERATE_TOP = frozenset({"priority", "reasoning_ended", "kv_transfer_params", "ec_transfer_params"})
"""Fields that stand beside the sampling parameters."""


class _GenerateLogprob(msgspec.Struct, gc=False):
    token_id: int
    logprob: float


class _GenerateLogprobs(msgspec.Struct):
    content: list[_GenerateLogprob] | None = None


class _GenerateChoice(msgspec.Struct):
    token_ids: list[int] | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    weight_versions: list[_Span] | None = None
    logprobs: _GenerateLogprobs | None = None


class _GenerateReply(msgspec.Struct):
    choices: list[_GenerateChoice]
    model: str | None = None
    usage: _Usage | None = None


_GENERATE_DECODER = msgspec.json.Decoder(_GenerateReply)


def _generate_body(call: TokenCall) -> dict[str, Any]:
    given = {name: value for name, value in call.fields.items() if value is not None}
    top = {name: given.pop(name) for name in _GENERATE_TOP & given.keys()}
    body = {"model": call.model, "token_ids": call.token_ids, "sampling_params": {"logprobs": 0, **given}}
    return body | _salted("cache_salt", call) | top


def _read_generate(body: bytes, call: TokenCall) -> TokenReply:
    reply = _GENERATE_DECODER.decode(body)
    choice = _only(reply.choices)
    entries = choice.logprobs.content if choice.logprobs else None
    if entries is not None and choice.token_ids is not None:
        _check_same([entry.token_id for entry in entries], choice.token_ids)
    return TokenReply(
        token_ids=choice.token_ids,
        logprobs=None if entries is None else [entry.logprob for entry in entries],
        finish_reason=choice.finish_reason or "",
        stop_reason=choice.stop_reason,
        prompt_token_ids=call.token_ids,
        usage=_usage(reply.usage, call, choice.token_ids),
        weight_versions=_spans(choice.weight_versions, choice.token_ids),
        model=reply.model or "",
    )


# vLLM, the embedded server and others: /v1/completions with a prompt of ids


class _CompletionLogprobs(msgspec.Struct):
    token_logprobs: list[float | None] | None = None


class _CompletionChoice(msgspec.Struct):
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: _CompletionLogprobs | None = None


class _CompletionReply(msgspec.Struct):
    choices: list[_CompletionChoice]
    model: str | None = None
    usage: _Usage | None = None


_COMPLETION_DECODER = msgspec.json.Decoder(_CompletionReply)


def _completion_body(call: TokenCall) -> dict[str, Any]:
    given = {name: value for name, value in call.fields.items() if value is not None}
    body = {"model": call.model, "prompt": call.token_ids, "logprobs": 0}
    return body | {"return_token_ids": True} | _salted("cache_salt", call) | given


def _read_completion(body: bytes, call: TokenCall) -> TokenReply:
    reply = _COMPLETION_DECODER.decode(body)
    choice = _only(reply.choices)
    if choice.prompt_token_ids is not None and choice.prompt_token_ids != call.token_ids:
        raise ValueError(
            f"the server read a prompt of {len(choice.prompt_token_ids)} other ids than the "
            f"{len(call.token_ids)} that were sent"
        )
    logprobs = choice.logprobs.token_logprobs if choice.logprobs else None
    return TokenReply(
        token_ids=choice.token_ids,
        logprobs=None if logprobs is None else _all_there(logprobs),
        finish_reason=choice.finish_reason or "",
        stop_reason=choice.stop_reason,
        prompt_token_ids=call.token_ids,
        usage=_usage(reply.usage, call, choice.token_ids),
        model=reply.model or "",
    )


# SGLang: /generate

_SGLANG_NAMES = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens", "seed": "sampling_seed"}
_SGLANG_TOP = frozenset(
    {"priority", "extra_key", "lora_path", "routing_key", "routed_dp_rank", "custom_logit_processor"}
)


class _Finish(msgspec.Struct):
    type: str = ""
    matched: Any = None


class _Meta(msgspec.Struct):
    finish_reason: _Finish | None = None
    output_token_logprobs: list[tuple[float | None, int, Any]] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    weight_version: str | int | None = None
    weight_versions: list[_Span] | None = None


class _SGLangReply(msgspec.Struct):
    meta_info: _Meta
    output_ids: list[int] | None = None


_SGLANG_DECODER = msgspec.json.Decoder(_SGLangReply)


def _sglang_body(call: TokenCall) -> dict[str, Any]:
    given = {_SGLANG_NAMES.get(name, name): value for name, value in call.fields.items() if value is not None}
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
    reply = _SGLANG_DECODER.decode(body)
    meta = reply.meta_info
    entries = meta.output_token_logprobs
    ids = reply.output_ids
    if entries is not None:
        ids = [token for _, token, _ in entries] if ids is None else ids
        _check_same([token for _, token, _ in entries], ids)
    finish = meta.finish_reason or _Finish()
    version = None if meta.weight_version is None else str(meta.weight_version)
    return TokenReply(
        token_ids=ids,
        logprobs=None if entries is None else _all_there([logprob for logprob, _, _ in entries]),
        finish_reason=finish.type,
        stop_reason=finish.matched if isinstance(finish.matched, (str, int)) else None,
        prompt_token_ids=call.token_ids,
        usage=Usage(
            prompt_tokens=meta.prompt_tokens or len(call.token_ids),
            completion_tokens=meta.completion_tokens or len(ids or ()),
            cached_tokens=meta.cached_tokens,
        ),
        weight_version=version,
        weight_versions=_spans(meta.weight_versions, ids),
    )


# llama.cpp: /completion

_LLAMA_FINISH = {"eos": "stop", "word": "stop", "limit": "length"}


def _read_llama(body: bytes, call: TokenCall) -> TokenReply:
    reply = read_completion(body, len(call.token_ids))
    ids, entries = reply.tokens or [], reply.completion_probabilities or []
    placed = place_logprobs(ids, entries)
    stop: str | int | None = reply.stopping_word or None
    if reply.stop_type == "eos" and ids:
        stop = ids[-1]
    return TokenReply(
        token_ids=ids,
        logprobs=[math.nan if logprob is None else logprob for logprob in placed],
        left_out=[place for place, logprob in enumerate(placed) if logprob is None],
        finish_reason=_LLAMA_FINISH.get(reply.stop_type, reply.stop_type),
        stop_reason=stop,
        prompt_token_ids=call.token_ids,
        usage=Usage(
            prompt_tokens=len(call.token_ids),
            completion_tokens=len(ids),
            cached_tokens=reply.timings.cache_n if reply.timings else None,
        ),
        model=reply.model or "",
    )


def _llama_body(call: TokenCall) -> dict[str, Any]:
    return completion_body(call.token_ids, call.fields)


GENERATE = TokenEndpoint("generate", "/inference/v1/generate", _generate_body, _read_generate)
COMPLETIONS = TokenEndpoint(
    "completions", "{api}/completions", _completion_body, _read_completion, needs_budget=True
)
SGLANG = TokenEndpoint("sglang", "/generate", _sglang_body, _read_sglang)
LLAMA = TokenEndpoint("llama", LLAMA_PATH, _llama_body, _read_llama)

ENDPOINTS = {endpoint.name: endpoint for endpoint in (GENERATE, SGLANG, LLAMA, COMPLETIONS)}
"""By name, in the order in which they are looked for."""


def read_reply(endpoint: TokenEndpoint, body: bytes, call: TokenCall, *, server: str) -> TokenReply:
    """Decode one reply.

    Raises:
        TryFailed: with `InvalidReply`, when it is none, or contradicts itself or what was asked.
    """
    try:
        reply = endpoint.read(body, call)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        start = one_line(body[:100].decode("utf-8", "replace"))
        message = f"{server} sent no usable reply of ids: {error}; it begins {start!r}"
        raise TryFailed(InvalidReply(message), retry=False) from error
    reply.server = server
    return reply


def _only(choices: Sequence[Any]) -> Any:
    if len(choices) != 1:
        raise ValueError(f"{len(choices)} choices where one was asked for; leave 'n' out of sampling.extra")
    return choices[0]


def _check_same(named: list[int], sampled: list[int]) -> None:
    """Only as far as both go: different lengths are judged where all token data is."""
    length = min(len(named), len(sampled))
    if named[:length] != sampled[:length]:
        raise ValueError("its logprobs belong to other ids than those that it says were sampled")


def _all_there(logprobs: Sequence[float | None]) -> list[float]:
    whole = [logprob for logprob in logprobs if logprob is not None]
    if len(whole) != len(logprobs):
        raise ValueError(f"{len(logprobs) - len(whole)} of its {len(logprobs)} logprobs are null")
    return whole


def _spans(spans: Sequence[_Span] | None, ids: Sequence[int] | None) -> list[VersionSpan]:
    """The spans, which must lie one behind the other over all ids."""
    if not spans or ids is None:
        return []
    end = 0
    for span in spans:
        if span.start != end or span.end < span.start:
            raise ValueError("its weight_versions do not lie one behind the other")
        end = span.end
    if end != len(ids):
        raise ValueError(f"its weight_versions are about {end} tokens, but {len(ids)} were sampled")
    return [VersionSpan(str(span.version), span.start, span.end) for span in spans if span.end > span.start]


def _salted(field: str, call: TokenCall) -> dict[str, str]:
    return {} if call.cache_salt is None else {field: call.cache_salt}


def _usage(usage: _Usage | None, call: TokenCall, ids: Sequence[int] | None) -> Usage:
    if usage is None:
        return Usage(prompt_tokens=len(call.token_ids), completion_tokens=len(ids or ()))
    details = usage.prompt_tokens_details
    return Usage(
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens=details.cached_tokens if details else None,
    )
