"""llama.cpp's ``/completion``, which takes ids and gives ids: its request, and its reply as it stands.

The invariant: an id has the logprob that the server gave to that very token, or none. llama.cpp leaves out
the logprob of a token that ends within a character, and of those that spell a stop string; which ones these
are is told here and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

PATH = "/completion"

FULL_DISTRIBUTION: dict[str, Any] = {
    "temperature": 1.0,
    "dynatemp_range": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "mirostat": 0,
    "adaptive_target": -1.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "dry_multiplier": 0.0,
}
"""What llama.cpp's samplers are told so that they draw from the model's own distribution. It has habits of
its own for what a request leaves out: temperature 0.8, top_k 40, top_p 0.95, min_p 0.05."""

NAMES = {"max_tokens": "n_predict", "repetition_penalty": "repeat_penalty"}
"""Its names for fields that go by vLLM's."""

NOT_KNOWN = frozenset(
    {"stop_token_ids", "min_tokens", "allowed_token_ids", "bad_words", "include_stop_str_in_output"}
)
"""Fields of other servers that would be lost here in silence."""


class _Entry(msgspec.Struct, gc=False):
    id: int
    logprob: float


class _Timings(msgspec.Struct):
    cache_n: int | None = None


class LlamaCompletion(msgspec.Struct):
    """The fields of a reply that are read. Counts are of tokens."""

    tokens: list[int] | None = None  # all that were sampled, the one that ended the reply included
    completion_probabilities: list[_Entry] | None = None  # absent where there is none
    stop_type: str = ""  # "eos", "limit", "word"
    stopping_word: str = ""
    tokens_evaluated: int | None = None  # of the prompt
    tokens_predicted: int | None = None
    tokens_cached: int | None = None  # that the slot holds: all but the last, unless the context was shifted
    truncated: bool = False
    timings: _Timings | None = None
    model: str | None = None


_DECODER = msgspec.json.Decoder(LlamaCompletion)


def completion_body(token_ids: Sequence[int], fields: Mapping[str, Any]) -> dict[str, Any]:
    """A request for what follows ``token_ids``, drawn as ``fields`` say; ``None`` is left out.

    Raises:
        ValueError: one of the fields is another server's, and would be lost.
    """
    given = {NAMES.get(name, name): value for name, value in fields.items() if value is not None}
    lost = sorted(NOT_KNOWN & given.keys())
    if lost:
        raise ValueError(f"llama.cpp knows no {lost[0]!r}; leave it out of sampling.extra")
    return {
        "prompt": token_ids,
        "n_predict": -1,  # what is left of the context
        **FULL_DISTRIBUTION,
        **given,
        "n_probs": max(1, given.get("n_probs", 1)),  # 0 would leave out the sampled token's, too
        "return_tokens": True,
        "stream": False,
    }


def read_completion(body: bytes, prompt: int) -> LlamaCompletion:
    """Decode a reply to a prompt of ``prompt`` ids.

    Raises:
        msgspec.DecodeError: it is none.
        ValueError: the server read another prompt, or sampled some tokens without the ones before them.
    """
    reply = _DECODER.decode(body)
    if reply.tokens is None:
        raise ValueError("it has no tokens, though return_tokens was asked for")
    if reply.tokens_evaluated is not None and reply.tokens_evaluated != prompt:
        raise ValueError(f"the server read {reply.tokens_evaluated} prompt tokens where {prompt} were sent")
    if reply.tokens_predicted is not None and reply.tokens_predicted != len(reply.tokens):
        raise ValueError(f"it has {len(reply.tokens)} ids where {reply.tokens_predicted} were sampled")
    whole = prompt + len(reply.tokens) - 1
    if reply.truncated and reply.tokens_cached is not None and reply.tokens_cached < whole:
        raise ValueError(
            "the server threw away the beginning of the context while it sampled; start it without "
            "--context-shift"
        )
    return reply


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
            raise ValueError("its logprobs belong to other ids than those that it says were sampled")
        places.append(at)
        at += 1
    return places
