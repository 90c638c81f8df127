"""``/v1/chat/completions``: a chat rendered with the policy's template, sampled, and taken apart again."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from aiohttp import web

from rollway.embedded.sequences import GenerationRequest, Output
from rollway.embedded.server.chat_stream import chat_events, finish_reason
from rollway.embedded.server.context import (
    Context,
    check_max_tokens,
    check_model,
    check_prompt,
    json_reply,
    read_body,
    request_id,
)
from rollway.embedded.server.errors import ApiError
from rollway.embedded.server.reading import Call, ReplyReader
from rollway.embedded.server.replies import ChatLogprobs, Usage, chat_logprobs, prompt_logprobs, usage
from rollway.embedded.server.requests import ChatRequest
from rollway.embedded.server.sampling_fields import check_stream_options, sampling_params
from rollway.embedded.server.sse import stream_events
from rollway.tool_parsers import opened_by_prompt


class Message(msgspec.Struct, kw_only=True):
    """The assistant's turn."""

    role: str = "assistant"
    content: str | None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    tool_calls: list[Call] | msgspec.UnsetType = msgspec.UNSET  # absent rather than empty
    reasoning: str | None


class Choice(msgspec.Struct, kw_only=True):
    """One sample."""

    index: int
    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: str
    stop_reason: int | str | None
    token_ids: list[int] | None


class ChatReply(msgspec.Struct, kw_only=True):
    """The whole reply."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    service_tier: None = None
    system_fingerprint: None = None
    usage: Usage
    prompt_logprobs: list[Any] | None
    prompt_token_ids: list[int] | None
    kv_transfer_params: None = None


def routes() -> list[web.RouteDef]:
    """The endpoints of this file."""
    return [
        web.post("/v1/chat/completions", chat),
    ]


async def chat(request: web.Request) -> web.StreamResponse:
    """One reply, or a stream of it."""
    context, body = await read_body(request, ChatRequest)
    _check(body)
    check_model(context, body.model)
    generation, reader = _prepare(context, body, f"chatcmpl-{request_id(request, body.request_id)}")
    if body.stream:
        return await stream_events(request, chat_events(context, body, generation, reader))
    with context.generate([generation]) as running:
        outputs = await running.finished()
    return json_reply(_reply(context, body, generation, outputs, reader))


def _check(body: ChatRequest) -> None:
    """vLLM's checks of the body, and what this server does not do."""
    check_stream_options(body.stream, body.stream_options)
    if not body.messages:
        raise ApiError("Cannot apply chat template to an empty conversation. Provide at least one message.")
    if body.top_logprobs is not None and body.top_logprobs < -1:
        raise ApiError(
            "`top_logprobs` must be a positive value or -1.", param="top_logprobs", value=body.top_logprobs
        )
    if body.top_logprobs and not body.logprobs:
        raise ApiError("when using `top_logprobs`, `logprobs` must be set to true.", param="top_logprobs")
    if body.tools == []:
        raise ApiError(
            "`tools` must not be an empty array. "
            "Either provide at least one tool or omit the field entirely.",
            param="tools",
        )
    if body.tool_choice not in (None, "none") and not body.tools:
        raise ApiError("When using `tool_choice`, `tools` must be set.", param="tool_choice")
    if body.tool_choice not in (None, "none", "auto"):
        raise ApiError(
            f"tool_choice {body.tool_choice!r} is not supported by the embedded server: it samples the "
            f"policy's own distribution, without a grammar. Use 'auto' or 'none'.",
            param="tool_choice",
        )
    for name in ("continue_final_message", "chat_template"):
        if getattr(body, name):
            raise ApiError(f"`{name}` is not supported by the embedded server", param=name)


def _prepare(context: Context, body: ChatRequest, id: str) -> tuple[GenerationRequest, ReplyReader]:
    policy = context.policy
    wanted = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    name = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    text = policy.template.render(
        body.messages,
        body.tools,
        add_generation_prompt=body.add_generation_prompt,
        **(body.chat_template_kwargs or {}),
    )
    check_max_tokens(context, wanted, name)
    prompt = policy.tokenizer.encode(text)
    check_prompt(context, prompt, exact=False)
    params = sampling_params(
        body,
        prompt_length=len(prompt),
        max_length=context.max_length,
        max_tokens=wanted,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        defaults=policy.defaults,
        vocabulary=policy.model.config.vocab_size,
    )
    parses_tools = bool(body.tools) and body.tool_choice != "none"
    format = context.reasoning_format
    reader = ReplyReader(
        tools=body.tools or (),
        tool_parser=context.tool_parser if parses_tools else None,
        reasoning_format=format,
        opened=format is not None and opened_by_prompt(text, format),
        parallel=body.parallel_tool_calls is not False,
    )
    return GenerationRequest(id, prompt, params, stream=bool(body.stream)), reader


def _reply(
    context: Context,
    body: ChatRequest,
    generation: GenerationRequest,
    outputs: list[Output],
    reader: ReplyReader,
) -> ChatReply:
    tokenizer = context.policy.tokenizer
    sampled = sum(len(output.token_ids) for output in outputs)
    return ChatReply(
        id=generation.id,
        created=int(time.time()),
        model=context.policy.name,
        choices=[_choice(context, body, output, reader) for output in outputs],
        usage=usage(len(generation.prompt), sampled, outputs[0].cached_tokens),
        prompt_logprobs=prompt_logprobs(tokenizer, outputs[0].prompt_scores),
        prompt_token_ids=generation.prompt if body.return_token_ids else None,
    )


def _choice(context: Context, body: ChatRequest, output: Output, reader: ReplyReader) -> Choice:
    parts = reader.read(output.text)
    return Choice(
        index=output.index,
        message=Message(
            content=parts.content,
            tool_calls=parts.tool_calls or msgspec.UNSET,
            reasoning=parts.reasoning,
        ),
        logprobs=chat_logprobs(context.policy.tokenizer, output) if body.logprobs else None,
        finish_reason=finish_reason(output, called=bool(parts.tool_calls)),
        stop_reason=output.stop_reason,
        token_ids=output.token_ids if body.return_token_ids else None,
    )
