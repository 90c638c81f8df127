"""A chat reply as a stream of chunks: the role, then deltas with their tokens, then the counts.

Content comes as soon as it is certain to be content; thoughts and calls come whole, with the last token.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from rollway.embedded.sequences import GenerationRequest, Output
from rollway.embedded.server.context import Context
from rollway.embedded.server.reading import Call, FunctionCall, GrowingReply, ReplyReader
from rollway.embedded.server.replies import ChatLogprobs, Usage, chat_logprobs, usage
from rollway.embedded.server.requests import ChatRequest


class CallDelta(msgspec.Struct):
    """A tool call within a delta."""

    index: int
    id: str
    function: FunctionCall
    type: str = "function"


class Delta(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is new of a message."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallDelta] | None = None


class StreamChoice(msgspec.Struct, kw_only=True):
    """What is new of one sample."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | msgspec.UnsetType | None = msgspec.UNSET  # in the last chunk
    token_ids: list[int] | None = None


class Chunk(msgspec.Struct, kw_only=True):
    """One event."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[StreamChoice]
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
    prompt_token_ids: list[int] | msgspec.UnsetType | None = msgspec.UNSET  # in the first chunks


async def chat_events(
    context: Context, body: ChatRequest, request: GenerationRequest, reader: ReplyReader
) -> AsyncGenerator[Chunk, None]:
    """The chunks of a reply; leaving the iterator aborts the request."""
    common: dict[str, Any] = {"id": request.id, "created": int(time.time()), "model": context.policy.name}
    options = body.stream_options
    counts = options is not None and bool(options.include_usage)
    running_counts = counts and options is not None and bool(options.continuous_usage_stats)
    replies = [GrowingReply(reader) for _ in range(request.params.n)]
    sampled = [0] * request.params.n
    cached = 0
    with context.generate([request]) as generation:
        for index in range(request.params.n):
            opening = StreamChoice(index=index, delta=Delta(role="assistant", content=""))
            prompt = request.prompt if body.return_token_ids else None
            yield Chunk(**common, choices=[opening], prompt_token_ids=prompt)
        while generation.left:
            output = await generation.next()
            sampled[output.index] += len(output.token_ids)
            cached = output.cached_tokens
            choice = _choice(context, body, output, replies[output.index])
            chunk = Chunk(**common, choices=[choice])
            if running_counts:
                chunk.usage = usage(len(request.prompt), sampled[output.index], cached)
            if _says_something(choice):
                yield chunk
    if counts:
        yield Chunk(**common, choices=[], usage=usage(len(request.prompt), sum(sampled), cached))


def _choice(context: Context, body: ChatRequest, output: Output, reply: GrowingReply) -> StreamChoice:
    delta = Delta(content=reply.add(output.text) or None)
    choice = StreamChoice(
        index=output.index,
        delta=delta,
        logprobs=chat_logprobs(context.policy.tokenizer, output) if body.logprobs else None,
        token_ids=output.token_ids if body.return_token_ids else None,
    )
    if output.finish_reason is not None:
        parts = reply.finish()
        delta.content = "".join(filter(None, (delta.content, parts.content))) or None
        delta.reasoning = parts.reasoning
        delta.tool_calls = _call_deltas(parts.tool_calls) or None
        choice.finish_reason = finish_reason(output, called=bool(parts.tool_calls))
        choice.stop_reason = output.stop_reason
    return choice


def finish_reason(output: Output, *, called: bool) -> str:
    """A reply that ended by itself and calls tools says so; one that was cut off says that instead."""
    reason = output.finish_reason or "stop"
    return "tool_calls" if called and reason == "stop" else reason


def _call_deltas(calls: list[Call]) -> list[CallDelta]:
    return [CallDelta(index, call.id, call.function) for index, call in enumerate(calls)]


def _says_something(choice: StreamChoice) -> bool:
    has_tokens = choice.token_ids is not None or choice.logprobs is not None
    return has_tokens or choice.delta.content is not None or choice.finish_reason is not None
