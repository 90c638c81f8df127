"""``/inference/v1/generate``: token ids in, token ids out, and nothing between."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from aiohttp import web

from rollway.embedded.sequences import GenerationRequest, Output
from rollway.embedded.server.context import (
    Context,
    check_model,
    check_vocabulary,
    json_reply,
    read_body,
    request_id,
)
from rollway.embedded.server.errors import ApiError, invalid_body
from rollway.embedded.server.replies import Usage, floor, prompt_logprobs, tokens_with_logprobs, usage
from rollway.embedded.server.requests import GenerateRequest
from rollway.embedded.server.sampling_fields import check_stream_options, sampling_params
from rollway.embedded.server.sse import stream_events

WEIGHT_VERSION = "default"
"""The one version of weights that this server has; vLLM's word for it."""


class Candidate(msgspec.Struct):
    """A likely token."""

    token_id: int
    logprob: float
    rank: int


class SampledToken(Candidate):
    """The sampled token, and likely ones at its place: itself first."""

    top_logprobs: list[Candidate]


class GenerateLogprobs(msgspec.Struct):
    """One entry for each sampled token."""

    content: list[SampledToken]


class WeightSpan(msgspec.Struct):
    """Which weights sampled the tokens from ``start`` to ``end``."""

    version: str
    start: int
    end: int


class GenerateChoice(msgspec.Struct, kw_only=True):
    """One sample, or what is new of it in a stream."""

    index: int
    finish_reason: str | None
    stop_reason: int | str | None
    token_ids: list[int]
    routed_experts: None = None
    weight_versions: list[WeightSpan] | None
    logprobs: GenerateLogprobs | None


class GenerateReply(msgspec.Struct, kw_only=True):
    """The whole reply, or one event of a stream."""

    request_id: str
    model: str
    created: int
    usage: Usage | None
    output_mode: str = "tokens"
    prompt_logprobs: list[Any] | None = None
    prompt_token_ids: list[int] | msgspec.UnsetType | None = msgspec.UNSET
    choices: list[GenerateChoice]


def routes() -> list[web.RouteDef]:
    """The endpoints of this file."""
    return [
        web.post("/inference/v1/generate", generate),
    ]


async def generate(request: web.Request) -> web.StreamResponse:
    """Continue a prompt of ids."""
    context, body = await read_body(request, GenerateRequest)
    check_stream_options(body.stream, body.stream_options)
    check_model(context, body.model)
    prompt = _prepare(context, body, f"generate-tokens-{request_id(request, body.request_id)}")
    common: dict[str, Any] = {
        "request_id": prompt.id,
        "model": context.policy.name,
        "created": int(time.time()),
    }
    if body.stream:
        return await stream_events(request, _events(context, body, prompt, common))
    with context.generate([prompt]) as generation:
        outputs = await generation.finished()
    sampled = sum(len(output.token_ids) for output in outputs)
    return json_reply(
        GenerateReply(
            **common,
            choices=[_choice(output, len(output.token_ids)) for output in outputs],
            usage=usage(len(prompt.prompt), sampled, outputs[0].cached_tokens),
            prompt_logprobs=prompt_logprobs(context.policy.tokenizer, outputs[0].prompt_scores),
            prompt_token_ids=prompt.prompt,
        )
    )


def _prepare(context: Context, body: GenerateRequest, id: str) -> GenerationRequest:
    if body.output_mode != "tokens":
        raise ApiError("the embedded server only has output_mode 'tokens'", param="output_mode")
    fields = body.sampling_params
    _check_length(len(body.token_ids), context.max_length, open_ended=fields.max_tokens is None)
    check_vocabulary(context, body.token_ids)
    params = sampling_params(
        fields,
        prompt_length=len(body.token_ids),
        max_length=context.max_length,
        max_tokens=fields.max_tokens,
        logprobs=fields.logprobs,
        defaults=context.policy.defaults,
        vocabulary=context.policy.model.config.vocab_size,
    )
    return GenerationRequest(id, body.token_ids, params, stream=bool(body.stream))


def _check_length(length: int, longest: int, *, open_ended: bool) -> None:
    """vLLM checks this endpoint's prompts elsewhere than the others', and says it in other words.

    Args:
        open_ended: whether the request names no ``max_tokens``.
    """
    if length == 0:
        raise invalid_body("`token_ids` should have at least 1 item, not 0", "body.token_ids")
    if length > longest and open_ended:
        raise ApiError(f"Input length ({length}) exceeds model's maximum context length ({longest}).")
    if length > longest:
        raise ApiError(
            f"The decoder prompt (length {length}) is longer than the maximum model length of {longest}. "
            f"Make sure that `max_model_len` is no smaller than the number of text tokens."
        )
    if length == longest:
        raise ApiError(
            f"The decoder prompt (length {length}) plus the number of requested output tokens (at least 1) "
            f"is longer than the maximum model length of {longest}. Make sure that `max_model_len` is no "
            f"smaller than the number of text tokens (prompt + requested output tokens)."
        )


async def _events(
    context: Context, body: GenerateRequest, prompt: GenerationRequest, common: dict[str, Any]
) -> AsyncGenerator[GenerateReply, None]:
    options = body.stream_options
    sampled = [0] * prompt.params.n
    cached, first = 0, True
    with context.generate([prompt]) as generation:
        while generation.left:
            output = await generation.next()
            sampled[output.index] += len(output.token_ids)
            cached = output.cached_tokens
            reply = GenerateReply(**common, choices=[_choice(output, sampled[output.index])], usage=None)
            if first:
                reply.prompt_token_ids, first = prompt.prompt, False
            yield reply
    if options is not None and options.include_usage:
        yield GenerateReply(**common, choices=[], usage=usage(len(prompt.prompt), sum(sampled), cached))


def _choice(output: Output, total: int) -> GenerateChoice:
    finished = output.finish_reason is not None
    return GenerateChoice(
        index=output.index,
        finish_reason=output.finish_reason,
        stop_reason=output.stop_reason,
        token_ids=output.token_ids,
        weight_versions=[WeightSpan(WEIGHT_VERSION, 0, total)] if finished else None,
        logprobs=None if output.logprobs is None else GenerateLogprobs(_sampled(output)),
    )


def _sampled(output: Output) -> list[SampledToken]:
    return [
        SampledToken(
            token,
            floor(logprob),
            rank,
            [Candidate(other, floor(value), place) for place, (other, value) in enumerate(top, start=1)],
        )
        for token, logprob, rank, top in tokens_with_logprobs(output)
    ]
