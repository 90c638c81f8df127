"""The logprobs that a server's model gives to tokens that are handed to it: nothing is sampled that counts.

Three ways to ask, found out by asking: ``/v1/completions`` with ``prompt_logprobs`` (vLLM and the embedded
server), ``/generate`` with ``logprob_start_len`` (SGLang), and one request for each token (llama.cpp). A
reply that does not hold the very tokens that were sent is a fault, never a number.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from rollway.inference.errors import BadRequest, InferenceError, InvalidReply
from rollway.inference.faults import failed_try
from rollway.inference.llama_logprobs import ForcedScores
from rollway.inference.protocol import Completion
from rollway.inference.retry import DEFAULT_RETRY, RetryPolicy, TryFailed, with_retries
from rollway.inference.transport import DEFAULT_TIMEOUTS, Timeouts, Transport, json_headers, split_base_url


class NoPromptLogprobs(InferenceError):
    """The server answers, but gives no logprobs of a prompt's tokens."""


class _Scores(Completion, kw_only=True):
    """What came back, with the tries that it took."""

    scores: list[float]


class _Dialect(msgspec.Struct, frozen=True):
    path: str
    ask: Callable[[str, Sequence[int], int], Awaitable[list[float]]]  # raises `TryFailed`


class PromptScorer:
    """Asks one server. Bound to the event loop of its first call; close it, or use it as a context manager.

        async with PromptScorer("http://127.0.0.1:8000", "calculator") as scorer:
            await scorer.check([5, 6])
            logprobs = await scorer.score([5, 6, 7, 8], start=2)  # of 7 after 5 6, and of 8 after 5 6 7

    The logprobs are those of the model's own distribution, at temperature 1 and with nothing cut off, unless
    the server was told to report others.

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
    ) -> None:
        self.server, api = split_base_url(base_url)
        self.model = model
        self._transport = Transport(
            self.server, headers=json_headers(api_key), timeouts=timeouts, max_connections=max_connections
        )
        self._retry = retry
        self._rng = random.Random()
        completions = f"{api}/completions"
        self._dialects = [
            _Dialect(completions, self._one_request(completions, _completions_body, _read_completions)),
            _Dialect("/generate", self._one_request("/generate", _generate_body, _read_generate)),
            _Dialect("/completion", ForcedScores(self._transport).score),
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
            try:
                await self._ask(dialect, token_ids, 1)
            except (BadRequest, InvalidReply) as error:
                refusals.append(f"{dialect.path}: {error}")
            else:
                self._dialect = dialect
                return
        raise NoPromptLogprobs(
            f"{self.server} gives no logprobs of prompts, as vLLM, SGLang, llama.cpp and 'rollway serve' do "
            f"({'; '.join(refusals)})"
        )

    async def score(self, token_ids: Sequence[int], start: int) -> list[float]:
        """The logprob of each of ``token_ids[start:]`` after all that stands before it. Natural log.

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
        return await self._ask(self._dialect, token_ids, start)

    async def close(self) -> None:
        """Close every connection. Closing twice is fine."""
        await self._transport.close()

    async def __aenter__(self) -> PromptScorer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _ask(self, dialect: _Dialect, token_ids: Sequence[int], start: int) -> list[float]:
        async def attempt(number: int) -> _Scores:
            return _Scores(scores=await dialect.ask(self.model, token_ids, start))

        return (await with_retries(attempt, self._retry, server=self.server, rng=self._rng)).scores

    def _one_request(
        self,
        path: str,
        write: Callable[[str, Sequence[int], int], dict[str, Any]],
        read: Callable[[bytes, Sequence[int], int], list[float]],
    ) -> Callable[[str, Sequence[int], int], Awaitable[list[float]]]:
        """The way of a server that gives all of them at once."""

        async def ask(model: str, token_ids: Sequence[int], start: int) -> list[float]:
            body = msgspec.json.encode(write(model, token_ids, start))
            reply = await self._transport.post(path, body, {})
            if not 200 <= reply.status < 300:
                raise failed_try(reply.status, reply.body, reply.headers, server=self.server, model=model)
            try:
                return read(reply.body, token_ids, start)
            except InvalidReply as error:
                raise TryFailed(InvalidReply(f"{self.server} answered {error}"), retry=False) from None

        return ask


# --- vLLM and the embedded server


class _PromptLogprob(msgspec.Struct):
    logprob: float


class _CompletionChoice(msgspec.Struct):
    prompt_logprobs: list[dict[str, _PromptLogprob] | None] | None = None


class _CompletionReply(msgspec.Struct):
    choices: list[_CompletionChoice]


_COMPLETION_DECODER = msgspec.json.Decoder(_CompletionReply)


def _completions_body(model: str, token_ids: Sequence[int], start: int) -> dict[str, Any]:
    # One token is the least that vLLM samples; it is not looked at.
    return {
        "model": model,
        "prompt": token_ids,
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,
    }


def _read_completions(body: bytes, token_ids: Sequence[int], start: int) -> list[float]:
    try:
        choices = _COMPLETION_DECODER.decode(body).choices
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidReply(f"no completion ({error})") from None
    entries = choices[0].prompt_logprobs if choices else None
    if entries is None:
        raise InvalidReply("without prompt_logprobs, though they were asked for")
    if len(entries) != len(token_ids):
        raise InvalidReply(
            f"with prompt_logprobs of {len(entries)} tokens to {len(token_ids)} that were sent"
        )
    scores = []
    for position in range(start, len(token_ids)):
        entry = (entries[position] or {}).get(str(token_ids[position]))
        if entry is None:
            raise InvalidReply(f"prompt_logprobs of another token than was sent at position {position}")
        scores.append(entry.logprob)
    return scores


# --- SGLang


class _MetaInfo(msgspec.Struct):
    input_token_logprobs: list[tuple[float | None, int, Any]] | None = None


class _GenerateReply(msgspec.Struct):
    meta_info: _MetaInfo


_GENERATE_DECODER = msgspec.json.Decoder(_GenerateReply)


def _generate_body(model: str, token_ids: Sequence[int], start: int) -> dict[str, Any]:
    return {
        "input_ids": token_ids,
        "sampling_params": {"max_new_tokens": 0, "temperature": 1.0},
        "return_logprob": True,
        "logprob_start_len": start - 1,  # the entry of the first token that is asked for has no logprob
    }


def _read_generate(body: bytes, token_ids: Sequence[int], start: int) -> list[float]:
    try:
        entries = _GENERATE_DECODER.decode(body).meta_info.input_token_logprobs
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidReply(f"no generation ({error})") from None
    if entries is None:
        raise InvalidReply("without input_token_logprobs, though they were asked for")
    wanted = token_ids[start:]
    last = entries[-len(wanted) :]  # whether the entries begin at the start or before it, they end at the end
    if [token for _, token, _ in last] != list(wanted):
        raise InvalidReply("input_token_logprobs of other tokens than were sent")
    scores = [logprob for logprob, _, _ in last if logprob is not None]
    if len(scores) != len(wanted):
        raise InvalidReply("input_token_logprobs with a gap")
    return scores
