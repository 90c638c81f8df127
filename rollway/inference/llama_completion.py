"""llama.cpp's ``/completion``, which takes ids and gives ids: its request, and its reply as it stands.

The invariant: an id has the logprob that the server gave to that very token, or none. llama.cpp leaves out
the logprob of a token that ends within a character, and of those that spell a stop string; which ones these
are is told here and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from rollway.inference.errors import BadRequest
from rollway.inference.sampling_fields import LLAMA_CPP, spell
from rollway.inference.token_data import Logprob, TokenId

PATH = "/completion"

NOT_KNOWN = frozenset(
    {"stop_token_ids", "min_tokens", "allowed_token_ids", "bad_words", "include_stop_str_in_output"}
)
"""Fields of other servers that would be lost here in silence."""


class _Entry(msgspec.Struct, gc=False):
    id: TokenId
    logprob: Logprob


class _Timings(msgspec.Struct):
    cache_n: int | None = None


class LlamaCompletion(msgspec.Struct):
    """The fields of a reply that are read. Counts are of tokens."""

    needed: ClassVar[frozenset[str]] = frozenset({"tokens", "completion_probabilities"})
    exact: ClassVar[frozenset[str]] = frozenset({"stop_type"})
    tokens: list[TokenId] | None = None  # all that were sampled, the one that ended the reply included
    completion_probabilities: list[_Entry] | None = None  # absent where there is none
    content: str | None = None
    stop_type: str = ""  # "eos", "limit", "word"
    stopping_word: str = ""
    tokens_evaluated: int | None = None  # of the prompt
    tokens_predicted: int | None = None
    tokens_cached: int | None = None  # that the slot holds: all but the last, unless the context was shifted
    truncated: bool = False
    timings: _Timings | None = None
    model: str | None = None
    error: Any = None


DECODER = msgspec.json.Decoder(LlamaCompletion)


def completion_body(
    token_ids: Sequence[int], fields: Mapping[str, Any], *, neutral: bool = True
) -> dict[str, Any]:
    """A request for what follows ``token_ids``, drawn as ``fields`` say; ``None`` is not said.

    Args:
        neutral: what is not said and shapes the distribution is sent with its neutral value.

    Raises:
        BadRequest: one of the fields is another server's, and would be lost.
    """
    given = spell(fields, LLAMA_CPP, neutral=neutral)
    lost = sorted(NOT_KNOWN & given.keys())
    if lost:
        raise BadRequest(f"llama.cpp knows no {lost[0]!r}; remove it from sampling.extra")
    return {
        "prompt": token_ids,
        "n_predict": -1,  # what is left of the context
        **given,
        "n_probs": max(1, given.get("n_probs", 1)),  # 0 would leave out the sampled token's, too
        "return_tokens": True,
        "stream": False,
    }


def check_context(reply: LlamaCompletion, prompt: int) -> None:
    """Find out whether all tokens were sampled after all that stands before them.

    Args:
        prompt: how many ids it had.

    Raises:
        ValueError: the server threw some of them away meanwhile.
    """
    whole = prompt + len(reply.tokens or ()) - 1
    if reply.truncated and reply.tokens_cached is not None and reply.tokens_cached < whole:
        raise ValueError(
            "the server dropped the beginning of the context while it sampled; start it without "
            "--context-shift"
        )


def place_logprobs(tokens: Sequence[int], entries: Sequence[Any]) -> list[float | None]:
    """The logprob of each token, ``None`` where the server gave none.

    The entries are those of some of the tokens, in their order. Where they could be of these tokens or of
    those, none of these has one.

    Args:
        entries: each with ``id`` and ``logprob``.

    Raises:
        ValueError: an entry is of none of the tokens.
    """
    if len(entries) == len(tokens) and all(
        entry.id == token for entry, token in zip(entries, tokens, strict=True)
    ):
        return [entry.logprob for entry in entries]
    ids = [entry.id for entry in entries]
    earliest = _places(tokens, ids)
    latest = [len(tokens) - 1 - place for place in reversed(_places(tokens[::-1], ids[::-1]))]
    placed: list[float | None] = [None] * len(tokens)
    for entry, first, last in zip(entries, earliest, latest, strict=True):
        if first == last:
            placed[first] = entry.logprob
    return placed


def _places(tokens: Sequence[int], ids: Sequence[int]) -> list[int]:
    """Where ``ids`` stand among ``tokens`` in their order, each as early as it can."""
    places, at = [], 0
    for wanted in ids:
        while at < len(tokens) and tokens[at] != wanted:
            at += 1
        if at == len(tokens):
            raise ValueError("its logprobs do not match its sampled ids")
        places.append(at)
        at += 1
    return places
