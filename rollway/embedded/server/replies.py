"""The parts of replies that several endpoints share, with vLLM's field names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rollway.embedded.sequences import Candidates, Output, PromptToken
from rollway.embedded.tokenizer import Tokenizer

LOWEST = -9999.0
"""What stands for a logprob of minus infinity, which JSON cannot say."""


class PromptDetails(msgspec.Struct):
    """Of the prompt's tokens."""

    cached_tokens: int


class Usage(msgspec.Struct):
    """Token counts."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptDetails | None


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> Usage:
    """Counts of a whole reply."""
    total = prompt_tokens + completion_tokens
    return Usage(prompt_tokens, total, completion_tokens, PromptDetails(cached_tokens))


class TokenLogprob(msgspec.Struct):
    """A token with its logprob, as text."""

    token: str
    logprob: float
    bytes: list[int]


class SampledLogprob(TokenLogprob):
    """A sampled token, and the likeliest ones at its place."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(msgspec.Struct):
    """One entry for each sampled token."""

    content: list[SampledLogprob]


def chat_logprobs(tokenizer: Tokenizer, output: Output) -> ChatLogprobs:
    """The logprobs of an output that has some, in the chat shape."""
    return ChatLogprobs(
        [
            SampledLogprob(
                tokenizer.token_text(token),
                floor(logprob),
                list(tokenizer.bytes_of(token)),
                [_token_logprob(tokenizer, *entry) for entry in top],
            )
            for token, logprob, _, top in tokens_with_logprobs(output)
        ]
    )


def _token_logprob(tokenizer: Tokenizer, token: int, logprob: float) -> TokenLogprob:
    return TokenLogprob(tokenizer.token_text(token), floor(logprob), list(tokenizer.bytes_of(token)))


def floor(logprob: float) -> float:
    """A logprob that JSON can say."""
    return max(logprob, LOWEST)


def prompt_logprobs(
    tokenizer: Tokenizer, scores: Sequence[PromptToken] | None
) -> list[dict[str, dict[str, Any]] | None] | None:
    """One entry for each token of the prompt; None for the first, which nothing comes before."""
    if scores is None:
        return None
    entries: list[dict[str, dict[str, Any]] | None] = [None]
    for score in scores:
        entry = {str(score.token): _prompt_entry(tokenizer, score.token, score.logprob, score.rank)}
        for rank, (token, logprob) in enumerate(score.top, start=1):
            entry.setdefault(str(token), _prompt_entry(tokenizer, token, logprob, rank))
        entries.append(entry)
    return entries


def _prompt_entry(tokenizer: Tokenizer, token: int, logprob: float, rank: int) -> dict[str, Any]:
    return {"logprob": floor(logprob), "rank": rank, "decoded_token": tokenizer.token_text(token)}


def tokens_with_logprobs(output: Output) -> list[tuple[int, float, int, Candidates]]:
    """(token, logprob, rank, candidates) for each token of an output that has logprobs."""
    assert output.logprobs is not None
    assert output.ranks is not None
    top = output.top if output.top is not None else [[]] * len(output.token_ids)
    return list(zip(output.token_ids, output.logprobs, output.ranks, top, strict=True))
