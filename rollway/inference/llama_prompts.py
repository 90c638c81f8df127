"""The ids of a chat prompt on llama.cpp, whose chat replies leave them out: it is asked for them afterwards.

The invariant: ids are given only where they are as many as the server counted and all of them were its
context to the last sampled token; else there are none, and the log says once why.
"""

from __future__ import annotations

import logging

import msgspec

from rollway.inference.bodies import NOT_JSON
from rollway.inference.faults import failed_try
from rollway.inference.protocol import Completion
from rollway.inference.transport import Timeouts, Transport

_log = logging.getLogger(__name__)

_NOT_KNOWN = "the prompts of such turns are unknown"
_CLOSED = frozenset({401, 403, 404, 405, 501})
_TIMES = Timeouts(connect=30.0, total=30.0)


class _Rendered(msgspec.Struct):
    prompt: str


class _Tokenized(msgspec.Struct):
    tokens: list[int]


class _Settings(msgspec.Struct):
    n_ctx: int | None = None


class _Props(msgspec.Struct):
    default_generation_settings: _Settings = msgspec.field(default_factory=_Settings)
    total_slots: int | None = None


async def rendered_ids(transport: Transport, body: bytes) -> list[int] | None:
    """The ids that the server makes of a chat request's messages; none where it cannot make them.

    None where the server has no such endpoints.

    Args:
        body: the very request that the chat endpoint gets, so that tools and template variables count.

    Raises:
        TryFailed: the server cannot be reached, or is overloaded.
    """
    rendered = await _post(transport, "/apply-template", body)
    if rendered is None:
        return None
    try:
        prompt = msgspec.json.decode(rendered, type=_Rendered).prompt
        # As the chat endpoint reads it: special tokens by their spelling, and the model's first one.
        asked = {"content": prompt, "add_special": True, "parse_special": True}
        tokenized = await _post(transport, "/tokenize", msgspec.json.encode(asked))
        return None if tokenized is None else msgspec.json.decode(tokenized, type=_Tokenized).tokens
    except NOT_JSON:
        return []


async def read_props(transport: Transport) -> tuple[int | None, int | None]:
    """Tokens of one slot's context, and how many slots there are; None for what the server does not say.

    Raises:
        TryFailed: the server cannot be reached.
    """
    reply = await transport.get("/props", _TIMES)
    try:
        props = msgspec.json.decode(reply.body if reply.status == 200 else b"", type=_Props)
    except NOT_JSON:
        return None, None
    return props.default_generation_settings.n_ctx, props.total_slots


class ServedPrompts:
    """Completes the chat replies of one server with the ids of their prompts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._closed = False  # the server does not open these endpoints
        self._context: int | None = None
        self._asked_context = False
        self._told: set[str] = set()

    async def complete(self, completion: Completion, body: bytes) -> None:
        """Put the prompt's ids into a reply that has those of its sampled tokens only.

        Args:
            body: the request that it answers.

        Raises:
            TryFailed: the server cannot be reached, or is overloaded.
        """
        if completion.tool_calls:
            self._tell(
                "parsed tool calls itself: it samples them under a grammar, so their logprobs are not those "
                "with which they were sampled; before training on them, set sampling.extra.tool_choice: none "
                "and a tool_parser, or use token mode",
                once="grammar",
            )
        if self._closed or completion.token_ids is None:
            return
        ids = await rendered_ids(self._transport, body)
        if ids is None:
            self._closed = True
            return
        if not ids or len(ids) != completion.usage.prompt_tokens:
            self._tell(
                f"counted {completion.usage.prompt_tokens} prompt tokens, but makes {len(ids)} ids of the "
                f"same messages; {_NOT_KNOWN}",
                once="count",
            )
            return
        context, sampled = await self._context_length(), len(completion.token_ids)
        if context is not None and len(ids) + sampled > context:
            self._tell(
                f"sampled {sampled} tokens after a prompt of {len(ids)} in a context of {context}: it "
                f"dropped the beginning meanwhile; {_NOT_KNOWN}; start it without --context-shift",
                once="shift",
            )
            return
        completion.prompt_token_ids = ids

    async def _context_length(self) -> int | None:
        if not self._asked_context:
            self._context, _ = await read_props(self._transport)
            self._asked_context = True
        return self._context

    def _tell(self, what: str, *, once: str) -> None:
        """Say it in the log, the first time that something of this kind is to be said."""
        if once not in self._told:
            self._told.add(once)
            _log.warning("%s %s (logged once)", self._transport.server, what)


async def _post(transport: Transport, path: str, body: bytes) -> bytes | None:
    """A good answer's body, nothing where the request is refused; None where there is no such endpoint."""
    reply = await transport.post(path, body, {})
    if reply.status == 200:
        return reply.body
    if reply.status in _CLOSED:
        return None
    failure = failed_try(reply.status, reply.body, reply.headers, server=transport.server)
    if failure.retry:
        raise failure
    return b""
