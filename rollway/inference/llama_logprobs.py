"""The logprob of a token that is named, on llama.cpp, which gives none of a prompt's tokens.

The token is forced by a bias that wins over everything: the logprobs that llama.cpp gives are those of the
model's own distribution, before any sampler has touched it. A token that ends within a character gets no
entry of its own; it is looked up among the most likely ones, if need be among all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from rollway.inference.errors import InvalidReply
from rollway.inference.faults import failed_try
from rollway.inference.llama_completion import PATH, completion_body
from rollway.inference.llama_prompts import read_props
from rollway.inference.retry import TryFailed
from rollway.inference.transport import Transport

_WINS = 100_000.0
"""A bias that no logit comes near."""

_LOOKED_AT = (256, 1 << 24)
"""Most likely tokens that are asked for, one after the other; the last is every token of any vocabulary."""

_ANY_TEXT = "a"
"""Whole by itself, in every vocabulary: forced where only the others beside it are looked at."""


class ForcedScores:
    """The logprobs of many tokens, one request for each: a sequence keeps one slot, which remembers it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._free: asyncio.Queue[int] | None = None

    async def score(self, model: str, token_ids: Sequence[int], start: int) -> list[float]:
        """The logprob of each of ``token_ids[start:]`` after all that stands before it.

        Raises:
            TryFailed: the server does not say.
        """
        free = await self._slots()
        slot = await free.get()
        try:
            return [
                await token_logprob(
                    self._transport, token_ids[:place], token_ids[place], model=model, slot=slot
                )
                for place in range(start, len(token_ids))
            ]
        finally:
            free.put_nowait(slot)

    async def _slots(self) -> asyncio.Queue[int]:
        if self._free is None:
            _, slots = await read_props(self._transport)
            if not slots:
                said = f"{self._transport.server} is no llama.cpp server: it names no slots at /props"
                raise TryFailed(InvalidReply(said), retry=False)
            if self._free is None:  # nobody else was faster
                self._free = asyncio.Queue()
                for slot in range(slots):
                    self._free.put_nowait(slot)
        return self._free


class _Likely(msgspec.Struct, gc=False):
    id: int
    logprob: float


class _Entry(_Likely):
    top_logprobs: list[_Likely] = []


class _Reply(msgspec.Struct):
    completion_probabilities: list[_Entry] = []
    tokens_evaluated: int | None = None


_DECODER = msgspec.json.Decoder(_Reply)


async def token_logprob(
    transport: Transport, before: Sequence[int], token: int, *, model: str = "", slot: int | None = None
) -> float:
    """The logprob of ``token`` after ``before``, natural log, at temperature 1 with nothing cut off.

    Args:
        slot: the server's slot that is to do it, which keeps what it has read of ``before``.

    Raises:
        TryFailed: the server does not say.
    """
    entry = await _ask(transport, before, [[token, _WINS]], 1, model, slot)
    if entry is not None and entry.id == token:
        return entry.logprob
    for likely in _LOOKED_AT:
        entry = await _ask(transport, before, [[_ANY_TEXT, _WINS]], likely, model, slot)
        found = [] if entry is None else [other for other in entry.top_logprobs if other.id == token]
        if found:
            return found[0].logprob
    raise TryFailed(
        InvalidReply(f"{transport.server} gives no logprob of token {token}, whichever way it is asked"),
        retry=False,
    )


async def _ask(
    transport: Transport,
    before: Sequence[int],
    bias: list[list[Any]],
    likely: int,
    model: str,
    slot: int | None,
) -> _Entry | None:
    """The entry of the one token that is sampled; None where the server gives none."""
    fields = {"max_tokens": 1, "temperature": 0.0, "logit_bias": bias, "n_probs": likely, "ignore_eos": False}
    body = completion_body(before, fields) | ({} if slot is None else {"id_slot": slot})
    reply = await transport.post(PATH, msgspec.json.encode(body), {})
    if not 200 <= reply.status < 300:
        raise failed_try(reply.status, reply.body, reply.headers, server=transport.server, model=model)
    try:
        read = _DECODER.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = f"{transport.server} sent what is no reply of llama.cpp's {PATH}: {error}"
        raise TryFailed(InvalidReply(said), retry=False) from error
    if read.tokens_evaluated is not None and read.tokens_evaluated != len(before):
        said = f"{transport.server} read {read.tokens_evaluated} prompt tokens where {len(before)} were sent"
        raise TryFailed(InvalidReply(said), retry=False)
    return read.completion_probabilities[0] if read.completion_probabilities else None
