"""What every endpoint shares: the policy, the engine, the options, and the checks that come first."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from aiohttp import web

from rollway.embedded.engine_thread import EngineThread, Generation
from rollway.embedded.policy import Policy
from rollway.embedded.sequences import GenerationRequest
from rollway.embedded.server.errors import ApiError, invalid_body
from rollway.tool_parsers import ToolParser

Body = TypeVar("Body")


class Context(msgspec.Struct, frozen=True):
    """One running server."""

    policy: Policy
    engine: EngineThread
    max_length: int  # tokens of prompt and completion together
    tool_parser: ToolParser | None  # None: calls stay in the content
    reasoning_format: str | None  # None: thoughts stay in the content
    started: int  # Unix seconds

    @contextmanager
    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Run prompts; whatever still runs when the block is left, also by a disconnect, is aborted."""
        generation = self.engine.submit(requests)
        try:
            yield generation
        finally:
            self.engine.close(generation)


CONTEXT = web.AppKey("context", Context)


async def read_body(request: web.Request, kind: type[Body]) -> tuple[Context, Body]:
    """The request's JSON, typed.

    Raises:
        msgspec.DecodeError: it is none, or not of this kind.
    """
    return request.app[CONTEXT], msgspec.json.decode(await request.read(), type=kind)


def check_model(context: Context, name: str | None) -> None:
    """Raises:
    ApiError: 404, another model was asked for.
    """
    served = context.policy.name
    if name and name != served:
        raise ApiError(
            f"The model `{name}` does not exist. Valid aliases: {served}.",
            status=404,
            kind="NotFoundError",
            param="model",
        )


def request_id(request: web.Request, stated: str | None) -> str:
    """The id that the client gave, or a new one."""
    return request.headers.get("X-Request-Id") or stated or uuid.uuid4().hex


def check_prompt(context: Context, prompt: Sequence[int], *, exact: bool) -> None:
    """Raises:
    ApiError: 400, the prompt is empty, longer than the context, or holds ids that the model does not have.

    Args:
        exact: whether the prompt came as ids. A text is only read until it is known to be too long, and
            the message says so, as vLLM's does.
    """
    if not prompt:
        raise ApiError("The decoder prompt cannot be empty")
    if len(prompt) > context.max_length:
        count = f"{len(prompt)}" if exact else f"at least {context.max_length + 1}"
        raise ApiError(
            f"This model's maximum context length is {context.max_length} tokens. However, your prompt "
            f"contains {count} input tokens, which exceeds this limit even without any output tokens. "
            f"Please reduce the length of the input prompt.",
            param="input_tokens",
            value=len(prompt) if exact else context.max_length + 1,
        )
    check_vocabulary(context, prompt)


def check_vocabulary(context: Context, tokens: Sequence[int]) -> None:
    """Raises:
    ApiError: 400, an id is none of the model's.
    """
    if not tokens:
        return
    if min(tokens) < 0:
        raise invalid_body(f"token ids must not be negative, got {min(tokens)}", "prompt")
    if max(tokens) >= context.policy.model.config.vocab_size:
        raise ApiError(f"Token id {max(tokens)} is out of vocabulary")


def check_max_tokens(context: Context, value: int | None, name: str) -> None:
    """Raises:
    ApiError: 400, more tokens are asked for than the context holds.
    """
    if value is not None and value > context.max_length:
        raise ApiError(
            f"{name}={value} cannot be greater than max_model_len={context.max_length}. "
            f"Please request fewer output tokens.",
            param=name,
            value=value,
        )


def json_reply(value: object) -> web.Response:
    """A 200 with JSON."""
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
