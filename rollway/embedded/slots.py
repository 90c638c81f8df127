"""What each running sequence has so far, in arrays with one entry per slot, so that a step is a few array
operations however many sequences run.

Slots are packed: the sequences in flight hold slots 0 to n - 1, and whoever ends one moves the last into it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollway.embedded.kv_cache import KVCache
from rollway.embedded.sampling import Integers, Sampled, SamplerState, SamplingParams


class Slots:
    """Tokens, logprobs and limits of the sequences in flight."""

    def __init__(self, cache: KVCache, *, slots: int, max_length: int, vocabulary: int) -> None:
        self.cache = cache
        self.sampler = SamplerState(slots)
        self.tokens = np.zeros((slots, max_length), np.int64)  # prompt and what was sampled
        self.count = np.zeros(slots, np.int64)  # of those
        self.prompt = np.zeros(slots, np.int64)  # tokens of the prompt
        self.limit = np.zeros(slots, np.int64)  # tokens at which the sequence is full
        self.minimum = np.zeros(slots, np.int64)  # tokens before which no end token may come
        self.ends = np.zeros((slots, vocabulary), bool)  # tokens that end the sequence
        self.logprobs = np.zeros((slots, max_length), np.float32)  # of sampled tokens, at their positions
        self.ranks = np.zeros((slots, max_length), np.int64)
        self.top = np.full(slots, -1, np.int64)  # most likely tokens wanted; -1: no logprobs
        self.watched = np.zeros(slots, bool)  # each token is looked at: streamed, or text that may stop
        self._long: tuple[NDArray[Any], ...] = (self.tokens, self.logprobs, self.ranks)
        self._short: tuple[NDArray[Any], ...] = (
            self.count,
            self.prompt,
            self.limit,
            self.minimum,
            self.ends,
            self.top,
            self.watched,
        )

    def begin(
        self,
        slot: int,
        prompt: Integers,
        params: SamplingParams,
        *,
        generator: np.random.Generator,
        ends: Integers,
        watched: bool,
    ) -> None:
        """Put a new sequence into a slot. Its keys and values are not there yet."""
        length = len(prompt)
        self.tokens[slot, :length] = prompt
        self.count[slot] = self.prompt[slot] = length
        self.limit[slot] = min(length + params.max_tokens, self.tokens.shape[1])
        self.minimum[slot] = length + params.min_tokens
        self.ends[slot] = False
        self.ends[slot, ends] = True
        self.top[slot] = -1 if params.logprobs is None else params.logprobs
        self.watched[slot] = watched
        self.sampler.set(slot, params, generator)

    def move(self, source: int, target: int) -> None:
        """Take a sequence to another slot, over whatever was there."""
        length = int(self.count[source])
        for array in self._long:
            array[target, :length] = array[source, :length]
        for array in self._short:
            array[target] = array[source]
        self.sampler.move(source, target)
        self.cache.copy(source, target, length)

    def append(self, slots: Integers, tokens: Integers, sampled: Sampled | None) -> Integers:
        """Add one token to each slot. Returns which rows of ``slots`` are finished by it."""
        at = self.count[slots]
        self.tokens[slots, at] = tokens
        if sampled is not None:
            self.logprobs[slots, at] = sampled.logprobs
            self.ranks[slots, at] = sampled.ranks
        self.count[slots] = at + 1
        return np.flatnonzero(self.ends[slots, tokens] | (at + 1 >= self.limit[slots]))

    def sampled(self, slot: int) -> slice:
        """Where the sampled tokens of a slot stand in ``tokens``, ``logprobs`` and ``ranks``."""
        return slice(int(self.prompt[slot]), int(self.count[slot]))
