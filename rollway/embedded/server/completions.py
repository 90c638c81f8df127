"""``/v1/completions``: a text or token ids continued, with nothing rendered and nothing taken apart."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from aiohttp import web

from rollway.embedded.sequences import GenerationRequest, Output
from rollway.embedded.server.context import (
    Context,
    check_max_tokens,
    check_model,
    check_prompt,
    json_reply,
    read_body,
    request_id,
)
from rollway.embedded.server.errors import ApiError, invalid_body
from rollway.embedded.server.replies import (
    Usage,
    floor,
    prompt_logprobs,
    tokens_with_logprobs,
    usage,
)
from rollway.embedded.server.requests import CompletionRequest
from rollway.embedded.server.sampling_fields import check_stream_options, sampling_params
from rollway.embedded.server.sse import stream_events
from rollway.embedded.tokenizer import Tokenizer


class CompletionLogprobs(msgspec.Struct, kw_only=True):
    """One entry for each sampled token, in the shape of the old completions API."""

    text_offset: list[int]
    token_logprobs: list[float]
    tokens: list[str]
    top_logprobs: list[dict[str, float]]


class CompletionChoice(msgspec.Struct, kw_only=True):
    """One sample, or what is new of it in a stream."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    stop_reason: int | str | None
    prompt_logprobs: list[Any] | msgspec.UnsetType | None = msgspec.UNSET
    prompt_token_ids: list[int] | msgspec.UnsetType | None = msgspec.UNSET
    token_ids: list[int] | None


class CompletionReply(msgspec.Struct, kw_only=True):
    """The whole reply, or one event of a stream."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | msgspec.UnsetType = msgspec.UNSET


def routes() -> list[web.RouteDef]:
    """The endpoints of this file."""
    return [
        web.post("/v1/completions", completions),
    ]


async def completions(request: web.Request) -> web.StreamResponse:
    """Continue one prompt or several."""
    context, body = await read_body(request, CompletionRequest)
    check_stream_options(body.stream, body.stream_options)
    check_model(context, body.model)
    if body.suffix is not None:
        raise ApiError("`suffix` is not supported by the embedded server", param="suffix")
    id = f"cmpl-{request_id(request, body.request_id)}"
    prompts = _prepare(context, body, id)
    common: dict[str, Any] = {"id": id, "created": int(time.time()), "model": context.policy.name}
    if body.stream:
        return await stream_events(request, _events(context, body, prompts, common))
    with context.generate(prompts) as generation:
        outputs = await generation.finished()
    counts = _Counts(prompts)
    choices = []
    for output in outputs:
        counts.add(output)
        choice = _choice(context, body, output, prompts)
        choice.prompt_token_ids = output.request.prompt if body.return_token_ids else None
        choice.prompt_logprobs = prompt_logprobs(context.policy.tokenizer, output.prompt_scores)
        choices.append(choice)
    return json_reply(CompletionReply(**common, choices=choices, usage=counts.usage()))


def _prepare(context: Context, body: CompletionRequest, id: str) -> list[GenerationRequest]:
    check_max_tokens(context, body.max_tokens, "max_tokens")
    requests = []
    for index, (prompt, exact) in enumerate(_prompts(context, body)):
        check_prompt(context, prompt, exact=exact)
        params = sampling_params(
            body,
            prompt_length=len(prompt),
            max_length=context.max_length,
            max_tokens=body.max_tokens,
            logprobs=body.logprobs,
            defaults=context.policy.defaults,
            vocabulary=context.policy.model.config.vocab_size,
        )
        requests.append(GenerationRequest(f"{id}-{index}", prompt, params, stream=bool(body.stream)))
    return requests


def _prompts(context: Context, body: CompletionRequest) -> list[tuple[list[int], bool]]:
    """Each prompt as ids, and whether it came as ids."""
    raw = body.prompt
    if raw is None or raw == "":
        raise ApiError("Either prompt or prompt_embeds must be provided and non-empty.", param="prompt")
    if raw == []:
        raise ApiError("You must pass at least one prompt")
    listed = isinstance(raw, list)
    several = listed and bool(raw) and not isinstance(raw[0], int)
    prompts = []
    for entry in raw if several else [raw]:
        if isinstance(entry, str):
            ids = context.policy.tokenizer.encode(entry, add_special_tokens=body.add_special_tokens)
            prompts.append((ids, False))
        elif isinstance(entry, list) and all(type(token) is int for token in entry):
            prompts.append((entry, True))
        else:
            raise invalid_body("`prompt` must be a text, a list of token ids, or a list of either", "prompt")
    return prompts


class _Counts:
    """Token counts over all prompts of a request."""

    def __init__(self, prompts: list[GenerationRequest]) -> None:
        self.prompt = sum(len(request.prompt) for request in prompts)
        self.sampled = 0
        self.cached: dict[int, int] = {}  # by prompt

    def add(self, output: Output) -> None:
        self.sampled += len(output.token_ids)
        self.cached[id(output.request)] = output.cached_tokens

    def usage(self) -> Usage:
        return usage(self.prompt, self.sampled, sum(self.cached.values()))


async def _events(
    context: Context, body: CompletionRequest, prompts: list[GenerationRequest], common: dict[str, Any]
) -> AsyncGenerator[CompletionReply, None]:
    options = body.stream_options
    counts = _Counts(prompts)
    begun: set[int] = set()
    with context.generate(prompts) as generation:
        while generation.left:
            output = await generation.next()
            counts.add(output)
            choice = _choice(context, body, output, prompts)
            if choice.index not in begun and body.return_token_ids:
                choice.prompt_token_ids = output.request.prompt
            begun.add(choice.index)
            yield CompletionReply(**common, choices=[choice])
    if options is not None and options.include_usage:
        yield CompletionReply(**common, choices=[], usage=counts.usage())


def _choice(
    context: Context, body: CompletionRequest, output: Output, prompts: list[GenerationRequest]
) -> CompletionChoice:
    at = next(index for index, request in enumerate(prompts) if request is output.request)
    return CompletionChoice(
        index=at * output.request.params.n + output.index,
        text=output.text,
        logprobs=None if output.logprobs is None else _logprobs(context.policy.tokenizer, output),
        finish_reason=output.finish_reason,
        stop_reason=output.stop_reason,
        token_ids=output.token_ids if body.return_token_ids else None,
    )


def _logprobs(tokenizer: Tokenizer, output: Output) -> CompletionLogprobs:
    result = CompletionLogprobs(text_offset=[], token_logprobs=[], tokens=[], top_logprobs=[])
    offset = 0
    for token, logprob, _, candidates in tokens_with_logprobs(output):
        text = tokenizer.token_text(token)
        result.text_offset.append(offset)
        result.tokens.append(text)
        result.token_logprobs.append(floor(logprob))
        others = {tokenizer.token_text(other): floor(value) for other, value in candidates}
        result.top_logprobs.append({text: floor(logprob)} | others)
        offset += len(text)
    return result
