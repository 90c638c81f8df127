"""Drawing tokens for many rows at once, each by its own settings and its own random stream.

A row's token depends on its logits, its settings and how many tokens it has drawn, on nothing else in the
batch. Logprobs are those of the model's own distribution: before temperature and before any cut.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from rollway.embedded.weights import Array

GREEDY_BELOW = 1e-5
"""Temperatures under this mean the most likely token, as in vLLM."""

_DRAWS = 64  # random numbers fetched from a row's generator at a time

Integers = NDArray[np.int64]


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is sampled and when it ends. Values have been checked."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    min_p: float = 0.0
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None  # most likely tokens to report beside the sampled; None: no logprobs at all
    prompt_logprobs: int | None = None  # likewise, for each token of the prompt


class Sampled(NamedTuple):
    """What was drawn. Each array has one entry per row."""

    tokens: Integers
    logprobs: Array
    ranks: Integers  # 1 for the most likely token
    top_tokens: Integers | None  # (rows, k), most likely first; None when nobody asked
    top_logprobs: Array | None


class SamplerState:
    """Settings and random streams, one entry per slot. Slots are moved by whoever owns them."""

    def __init__(self, slots: int) -> None:
        self._temperature = np.ones(slots)
        self._greedy = np.zeros(slots, bool)
        self._top_p = np.ones(slots)
        self._top_k = np.zeros(slots, np.int64)
        self._min_p = np.zeros(slots)
        self._draws = np.zeros((slots, _DRAWS))
        self._cursor = np.zeros(slots, np.int64)
        self._generators: list[np.random.Generator | None] = [None] * slots

    def set(self, slot: int, params: SamplingParams, generator: np.random.Generator) -> None:
        """Begin a row."""
        self._greedy[slot] = params.temperature < GREEDY_BELOW
        self._temperature[slot] = 1.0 if self._greedy[slot] else max(params.temperature, 0.01)
        self._top_p[slot], self._top_k[slot], self._min_p[slot] = params.top_p, params.top_k, params.min_p
        self._generators[slot] = generator
        self._cursor[slot] = _DRAWS

    def move(self, source: int, target: int) -> None:
        """Take over a row's settings and stream."""
        for array in (self._temperature, self._greedy, self._top_p, self._top_k, self._min_p, self._cursor):
            array[target] = array[source]
        self._draws[target] = self._draws[source]
        self._generators[target] = self._generators[source]

    def sample(self, logits: Array, slots: Integers, *, forbidden: NDArray[np.bool_] | None) -> Integers:
        """Draw one token for each row.

        Args:
            logits: (rows, vocab).
            slots: (rows,) the slot whose settings a row follows.
            forbidden: (rows, vocab), True where a token must not be drawn; None when all may.
        """
        if forbidden is not None:
            logits = np.where(forbidden, np.float32(-np.inf), logits)
        greedy = self._greedy[slots]
        best: Integers = logits.argmax(axis=1)
        if greedy.all():
            return best
        weights = self._weights(logits, slots)
        cumulated = np.cumsum(weights, axis=1, dtype=np.float64)
        total = cumulated[:, -1]
        target = np.minimum(self._uniform(slots) * total, np.nextafter(total, 0))
        drawn: Integers = (cumulated <= target[:, None]).sum(axis=1)
        return np.where(greedy, best, drawn)

    def _weights(self, logits: Array, slots: Integers) -> Array:
        """(rows, vocab): probabilities up to a factor, zero for tokens that are cut off."""
        scaled = logits - logits.max(axis=1, keepdims=True)
        temperature = self._temperature[slots]
        if (temperature != 1).any():
            scaled /= temperature.astype(np.float32)[:, None]
        weights: Array = np.exp(scaled, out=scaled)
        cut = (self._top_k[slots] > 0) | (self._top_p[slots] < 1) | (self._min_p[slots] > 0)
        for row in np.flatnonzero(cut):
            slot = slots[row]
            _cut(weights[row], int(self._top_k[slot]), self._top_p[slot], self._min_p[slot])
        return weights

    def _uniform(self, slots: Integers) -> NDArray[np.float64]:
        for slot in slots[self._cursor[slots] >= _DRAWS]:
            generator = self._generators[slot]
            assert generator is not None
            generator.random(out=self._draws[slot])
            self._cursor[slot] = 0
        drawn = self._draws[slots, self._cursor[slots]]
        self._cursor[slots] += 1
        return drawn


def _cut(weights: Array, top_k: int, top_p: float, min_p: float) -> None:
    """Zero what min_p, then top_k, then top_p leave out. Ties with the last kept token are kept."""
    if min_p > 0:
        weights[weights < min_p * weights.max()] = 0
    if 0 < top_k < len(weights):
        weights[weights < np.partition(weights, -top_k)[-top_k]] = 0
    if top_p < 1:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order], dtype=np.float64)
        before -= weights[order]
        keep = before < top_p * (before[-1] + weights[order[-1]])
        keep[0] = True
        weights[order[~keep]] = 0


def generators(params: SamplingParams) -> list[np.random.Generator]:
    """One random stream for each of the ``n`` samples. The same seed always gives the same streams."""
    if params.seed is None:
        return [np.random.default_rng() for _ in range(params.n)]
    entropy = params.seed % 2**64
    return [np.random.default_rng([entropy, index]) for index in range(params.n)]


def score(logits: Array, tokens: Integers, *, top: int) -> Sampled:
    """Logprobs and ranks of given tokens, and the ``top`` most likely ones, under the model's distribution.

    Args:
        logits: (rows, vocab), as the model gave them.
        tokens: (rows,).
    """
    rows = np.arange(len(tokens))
    peak = logits.max(axis=1)
    shifted = logits - peak[:, None]
    divisor = np.log(np.exp(shifted).sum(axis=1))
    chosen = logits[rows, tokens]
    logprobs = chosen - peak - divisor
    ranks = (logits > chosen[:, None]).sum(axis=1) + 1
    if top == 0:
        return Sampled(tokens, logprobs, ranks, None, None)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    best = np.take_along_axis(shifted, order, axis=1) - divisor[:, None]
    return Sampled(tokens, logprobs, ranks, order, best)
