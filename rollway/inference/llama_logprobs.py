"""How likely a token that is named is, on llama.cpp, which gives no logprobs of a prompt's tokens.

The token is forced by a bias that wins over everything: the logprobs that llama.cpp gives are those of the
model's own distribution, before any sampler has touched it. A token that ends within a character gets no
entry of its own; it is looked up among the most likely ones, if need be among all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from rollway.inference.bodies import NOT_JSON, unreadable
from rollway.inference.errors import InvalidReply
from rollway.inference.faults import failed_try
from rollway.inference.llama_completion import PATH, completion_body
from rollway.inference.llama_prompts import read_props
from rollway.inference.scored import Asked, Candidate, Scored
from rollway.inference.transport import Transport
from rollway.inference.tries import TryFailed

_WINS = 100_000.0
"""A bias that no logit comes near."""

_LOOKED_AT = (256, 1 << 24)
"""Most likely tokens that are asked for, one after the other; the last is every token of any vocabulary."""

_ANY_TEXT = "a"
"""Whole by itself, in every vocabulary: forced where only the others beside it are looked at."""


class ForcedScores:
    """How likely many tokens were, one request for each: a sequence keeps one slot, which remembers it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._free: asyncio.Queue[int] | None = None

    async def score(self, asked: Asked) -> list[Scored]:
        """How likely each token from ``start`` on was after all that stands before it.

        Raises:
            TryFailed: the server does not say.
        """
        free = await self._slots()
        slot = await free.get()
        ids, places = asked.token_ids, range(asked.start, len(asked.token_ids))
        try:
            return [
                await force_token(
                    self._transport, ids[:place], ids[place], model=asked.model, top=asked.top, slot=slot
                )
                for place in places
            ]
        finally:
            free.put_nowait(slot)

    async def _slots(self) -> asyncio.Queue[int]:
        if self._free is None:
            _, slots = await read_props(self._transport)
            if not slots:
                said = f"{self._transport.server} is not a llama.cpp server: it lists no slots at /props"
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


async def force_token(
    transport: Transport,
    before: Sequence[int],
    token: int,
    *,
    model: str = "",
    top: int = 0,
    slot: int | None = None,
) -> Scored:
    """How likely ``token`` is after ``before``: natural log, at temperature 1 with nothing cut off.

    Args:
        top: the likeliest tokens to ask for beside it.
        slot: the server's slot that is to do it, which keeps what it has read of ``before``.

    Raises:
        TryFailed: the server does not say.
    """
    entry = await _ask(transport, before, [[token, _WINS]], max(1, top), model, slot)
    if entry is not None and entry.id == token:
        return Scored(entry.logprob, _likeliest(transport, entry, top))
    for wanted in _LOOKED_AT:
        entry = await _ask(transport, before, [[_ANY_TEXT, _WINS]], max(wanted, top), model, slot)
        found = [] if entry is None else [other for other in entry.top_logprobs if other.id == token]
        if entry is not None and found:
            return Scored(found[0].logprob, _likeliest(transport, entry, top))
    raise TryFailed(
        InvalidReply(f"{transport.server} gives no logprob of token {token}, however it is asked"),
        retry=False,
    )


def _likeliest(transport: Transport, entry: _Entry, top: int) -> list[Candidate]:
    found = entry.top_logprobs[:top]
    if len(found) < top:
        said = f"{transport.server} gave {len(found)} likeliest tokens instead of {top}"
        raise TryFailed(InvalidReply(said), retry=False)
    return [Candidate(likely.id, likely.logprob) for likely in found]


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
        raise failed_try(
            reply.status,
            reply.body,
            reply.headers,
            server=transport.server,
            model=model,
            max_tokens=1,
            sent=len(before),
        )
    try:
        read = _DECODER.decode(reply.body)
    except NOT_JSON as error:
        raise unreadable(transport.server, f"reply of llama.cpp's {PATH}", reply.body, error) from error
    if read.tokens_evaluated is not None and read.tokens_evaluated != len(before):
        said = (
            f"{transport.server} read a prompt of {read.tokens_evaluated} tokens, not the {len(before)} ids "
            "that were sent"
        )
        raise TryFailed(InvalidReply(said), retry=False)
    return read.completion_probabilities[0] if read.completion_probabilities else None
