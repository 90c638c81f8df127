"""The logprobs that a server's model gives to tokens that are handed to it: nothing is sampled that counts.

Three ways to ask, found out by asking: ``/v1/completions`` with ``prompt_logprobs`` (vLLM and the embedded
server), ``/generate`` with ``logprob_start_len`` (SGLang), and one request for each token (llama.cpp). A
reply that does not hold the very tokens that were sent is a fault, never a number; so is one with other than
the likeliest tokens that were asked for.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from rollway.inference.errors import BadRequest, InferenceError, InvalidReply
from rollway.inference.faults import failed_try
from rollway.inference.gate import ServerGate
from rollway.inference.llama_completion import PATH as LLAMA_PATH
from rollway.inference.llama_logprobs import ForcedScores
from rollway.inference.protocol import Completion
from rollway.inference.retry import DEFAULT_RETRY, RetryPolicy, with_retries
from rollway.inference.scored import Asked, Candidate, Scored
from rollway.inference.transport import DEFAULT_TIMEOUTS, Timeouts, Transport, json_headers, split_base_url
from rollway.inference.tries import TryFailed


class NoPromptLogprobs(InferenceError):
    """The server answers, but gives no logprobs of a prompt's tokens."""


class _Scores(Completion, kw_only=True):
    """What came back, with the tries that it took."""

    scores: list[Scored]


class _Dialect(msgspec.Struct, frozen=True):
    path: str
    ask: Callable[[Asked], Awaitable[list[Scored]]]  # raises `TryFailed`


class PromptScorer:
    """Asks one server. Bound to the event loop of its first call; close it, or use it as a context manager.

        async with PromptScorer("http://127.0.0.1:8000", "calculator") as scorer:
            await scorer.check([5, 6])
            logprobs = await scorer.score([5, 6, 7, 8], start=2)  # of 7 after 5 6, and of 8 after 5 6 7

    The logprobs are those of the model's own distribution, at temperature 1 and with nothing cut off, unless
    the server was told to report others.

    Args:
        top: the likeliest tokens to ask for at each place. A server that gives none is asked for 0 instead.

    Attributes:
        top: as above, 0 once `check` has found out that the server gives none.

    Raises:
        ValueError: ``base_url`` is no http address.
    """

    def __init__(
        self,
        base_url: str,
        model: str = "",
        api_key: str | None = None,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        retry: RetryPolicy = DEFAULT_RETRY,
        max_connections: int = 256,
        top: int = 0,
    ) -> None:
        self.server, api = split_base_url(base_url)
        self.model = model
        self.top = top
        self._transport = Transport(
            self.server, headers=json_headers(api_key), timeouts=timeouts, max_connections=max_connections
        )
        self._gate = ServerGate(
            self.server,
            lambda seconds: self._transport.probe(f"{api}/models", seconds),
            patience=retry.patience,
            most=self._transport.max_connections,
        )
        self._retry = retry
        self._rng = random.Random()
        self._dialects = [
            self._at_once(f"{api}/completions", _completions_body, _read_completions),
            self._at_once("/generate", _generate_body, _read_generate),
            _Dialect(LLAMA_PATH, ForcedScores(self._transport).score),
        ]
        self._dialect: _Dialect | None = None

    async def check(self, token_ids: Sequence[int]) -> None:
        """Find out how the server is asked, with two or more ids that it knows.

        Raises:
            NoPromptLogprobs: it gives none, whichever way it is asked.
            InferenceError: as for `score`.
        """
        refusals = []
        for dialect in self._dialects:
            for top in dict.fromkeys((self.top, 0)):
                try:
                    await self._ask(dialect, Asked(self.model, token_ids, 1, top))
                except (BadRequest, InvalidReply) as error:
                    refusal = f"{dialect.path}: {error}"
                else:
                    self._dialect, self.top = dialect, top
                    return
            refusals.append(refusal)
        raise NoPromptLogprobs(
            f"{self.server} does not return prompt logprobs ({'; '.join(refusals)}); vLLM, SGLang, "
            "llama.cpp and 'rollway serve' do"
        )

    async def score(self, token_ids: Sequence[int], start: int) -> list[float]:
        """The logprob of each of ``token_ids[start:]`` after all that stands before it. Natural log.

        Raises: as `score_with_likeliest`.
        """
        return [scored.logprob for scored in await self.score_with_likeliest(token_ids, start)]

    async def score_with_likeliest(self, token_ids: Sequence[int], start: int) -> list[Scored]:
        """The same, with the ``top`` likeliest tokens at each place.

        Raises:
            ValueError: ``start`` is below 1 (nothing stands before the first token) or past the end.
            ContextOverflow: they are too many for the model's context.
            InvalidReply: the reply has no logprobs, or those of other tokens.
            BadRequest, ModelNotFound, ServerOverloaded, ServerUnreachable: as for any client.
        """
        if not 1 <= start < len(token_ids):
            raise ValueError(f"start must be between 1 and {len(token_ids) - 1}, got {start}")
        if self._dialect is None:
            await self.check(token_ids[:2])
        assert self._dialect is not None
        return await self._ask(self._dialect, Asked(self.model, token_ids, start, self.top))

    async def close(self) -> None:
        """Close every connection. Closing twice is fine."""
        self._gate.close()
        await self._transport.close()

    async def __aenter__(self) -> PromptScorer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _ask(self, dialect: _Dialect, asked: Asked) -> list[Scored]:
        async def attempt(number: int) -> _Scores:
            return _Scores(scores=await dialect.ask(asked))

        return (
            await with_retries(attempt, self._retry, server=self.server, rng=self._rng, gate=self._gate)
        ).scores

    def _at_once(
        self,
        path: str,
        write: Callable[[Asked], dict[str, Any]],
        read: Callable[[bytes, Asked], list[Scored]],
    ) -> _Dialect:
        """The way of a server that takes one request for all tokens."""

        async def ask(asked: Asked) -> list[Scored]:
            reply = await self._transport.post(path, msgspec.json.encode(write(asked)), {})
            if not 200 <= reply.status < 300:
                raise failed_try(
                    reply.status, reply.body, reply.headers, server=self.server, model=self.model
                )
            try:
                return read(reply.body, asked)
            except InvalidReply as error:
                raise TryFailed(InvalidReply(f"{self.server} answered {error}"), retry=False) from None

        return _Dialect(path, ask)


# --- vLLM and the embedded server


class _PromptLogprob(msgspec.Struct):
    logprob: float


class _CompletionChoice(msgspec.Struct):
    prompt_logprobs: list[dict[str, _PromptLogprob] | None] | None = None


class _CompletionReply(msgspec.Struct):
    choices: list[_CompletionChoice]


_COMPLETION_DECODER = msgspec.json.Decoder(_CompletionReply)


def _completions_body(asked: Asked) -> dict[str, Any]:
    # One token is the least that vLLM samples; it is not looked at.
    return {
        "model": asked.model,
        "prompt": asked.token_ids,
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": asked.top,
    }


def _read_completions(body: bytes, asked: Asked) -> list[Scored]:
    token_ids = asked.token_ids
    try:
        choices = _COMPLETION_DECODER.decode(body).choices
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidReply(f"with a malformed completion ({error})") from None
    entries = choices[0].prompt_logprobs if choices else None
    if entries is None:
        raise InvalidReply("without the requested prompt_logprobs")
    if len(entries) != len(token_ids):
        raise InvalidReply(
            f"with prompt_logprobs for {len(entries)} tokens instead of the {len(token_ids)} sent"
        )
    scores = []
    for position in range(asked.start, len(token_ids)):
        entry = entries[position] or {}
        own = entry.get(str(token_ids[position]))
        if own is None:
            raise InvalidReply(f"with prompt_logprobs for a different token at position {position}")
        scores.append(Scored(own.logprob, _likeliest(entry, str(token_ids[position]), asked.top)))
    return scores


def _likeliest(entry: dict[str, _PromptLogprob], own: str, top: int) -> list[Candidate]:
    """The token's own entry is one of the ``top`` likeliest, or stands beside them."""
    if top == 0:
        return []
    if len(entry) not in (top, top + 1):
        raise InvalidReply(f"with the {len(entry)} likeliest tokens to a request for {top}")
    beside = own if len(entry) > top else None
    found = [Candidate(int(name), said.logprob) for name, said in entry.items() if name != beside]
    return sorted(found, key=_less_likely_last)


def _less_likely_last(candidate: Candidate) -> float:
    return -candidate.logprob


# --- SGLang


class _MetaInfo(msgspec.Struct):
    input_token_logprobs: list[tuple[float | None, int, Any]] | None = None
    input_top_logprobs: list[list[tuple[float, int, Any]] | None] | None = None


class _GenerateReply(msgspec.Struct):
    meta_info: _MetaInfo


_GENERATE_DECODER = msgspec.json.Decoder(_GenerateReply)


def _generate_body(asked: Asked) -> dict[str, Any]:
    body = {
        "input_ids": asked.token_ids,
        "sampling_params": {"max_new_tokens": 0, "temperature": 1.0},
        "return_logprob": True,
        "logprob_start_len": asked.start - 1,  # the entry of the first token that is asked for has no logprob
    }
    return body | {"top_logprobs_num": asked.top} if asked.top else body


def _read_generate(body: bytes, asked: Asked) -> list[Scored]:
    try:
        meta = _GENERATE_DECODER.decode(body).meta_info
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidReply(f"with a malformed generation ({error})") from None
    entries = meta.input_token_logprobs
    if entries is None:
        raise InvalidReply("without the requested input_token_logprobs")
    wanted = asked.token_ids[asked.start :]
    last = entries[-len(wanted) :]  # whether the entries begin at the start or before it, they end at the end
    if [token for _, token, _ in last] != list(wanted):
        raise InvalidReply("with input_token_logprobs for different tokens")
    scores = [logprob for logprob, _, _ in last if logprob is not None]
    if len(scores) != len(wanted):
        raise InvalidReply("with missing input_token_logprobs")
    tops = _input_tops(meta, len(wanted), asked.top)
    return [Scored(logprob, top) for logprob, top in zip(scores, tops, strict=True)]


def _input_tops(meta: _MetaInfo, places: int, top: int) -> list[list[Candidate]]:
    if top == 0:
        return [[]] * places
    entries = (meta.input_top_logprobs or [])[-places:]
    if len(entries) != places or any(entry is None or len(entry) != top for entry in entries):
        raise InvalidReply(f"without the {top} likeliest tokens at each place, though they were asked for")
    return [
        sorted((Candidate(token, logprob) for logprob, token, _ in entry or ()), key=_less_likely_last)
        for entry in entries
    ]
