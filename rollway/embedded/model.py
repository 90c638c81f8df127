"""The forward pass of a Qwen3-architecture model in NumPy, for a mixed batch of decoding and prefilling rows.

A row's result does not depend on the other rows: products have at least two rows, lengths are padded to
whole lanes, and each row is normalised and attends by itself. Where BLAS accumulates every element of a
product in the same order whatever the number of rows (OpenBLAS does), this holds to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollway.embedded.kv_cache import LANES, KVCache, padded
from rollway.embedded.weights import Array, LayerWeights, Weights

_MASKED = np.float32(-np.inf)
_ATTENTION_ROWS = 32  # decoding rows that attend together, padded to the longest of them
_BLOCK = 256  # positions that one product sums over

Integers = NDArray[np.int64]


class Segment(NamedTuple):
    """Consecutive prompt tokens of one slot that are prefilled in this step."""

    slot: int
    start: int  # position of the first token
    rows: slice  # where they stand in the batch


class Batch(NamedTuple):
    """One step's rows: first one row for each decoding slot (row i is slot i), then those of the segments."""

    tokens: Integers  # (rows,)
    positions: Integers  # (rows,)
    decoding: int  # number of decoding rows
    segments: Sequence[Segment]
    logit_rows: Integers  # the rows whose logits are wanted


class _Mask(NamedTuple):
    """What one group of decoding rows may attend to, for all layers."""

    rows: slice
    length: int  # padded
    bias: Array  # (rows, 1, 1, length): 0 where visible, else minus infinity


class Model:
    """A model with its weights; its state lies in the `KVCache` that is handed in."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.config = weights.config
        self._cos, self._sin = _rope_tables(weights)

    def forward(self, batch: Batch, cache: KVCache) -> Array:
        """Run the rows, write their keys and values into the cache, and return logits.

        Returns:
            (len(batch.logit_rows), vocab) float32.
        """
        tokens, positions = batch.tokens, batch.positions
        if len(tokens) == 1:  # a product with one row would take another path through BLAS
            tokens, positions = np.repeat(tokens, 2), np.repeat(positions, 2)
        hidden = self.weights.embed[tokens]
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        masks = _decode_masks(batch)
        causal = [self._causal_mask(segment) for segment in batch.segments]
        with np.errstate(over="ignore"):  # exp(-gate) may reach infinity, and its quotient then zero
            for index, layer in enumerate(self.weights.layers):
                context = self._attend(index, layer, hidden, (cos, sin), batch, cache, masks, causal)
                hidden += context @ layer.out
                hidden += self._feed_forward(layer, hidden)
        wanted = batch.logit_rows if len(batch.logit_rows) != 1 else np.repeat(batch.logit_rows, 2)
        logits: Array = self._normalise(hidden[wanted]) @ self.weights.unembed
        return logits[: len(batch.logit_rows)]

    def _normalise(self, rows: Array) -> Array:
        scale = np.einsum("nd,nd->n", rows, rows)
        scale /= np.float32(self.config.hidden_size)
        scale += np.float32(self.config.rms_norm_eps)
        np.sqrt(scale, out=scale)
        normalised: Array = rows / scale[:, None]
        return normalised

    def _feed_forward(self, layer: LayerWeights, hidden: Array) -> Array:
        gate_up = self._normalise(hidden) @ layer.gate_up
        gate, up = gate_up[:, : self.config.intermediate_size], gate_up[:, self.config.intermediate_size :]
        weight = np.negative(gate)
        np.exp(weight, out=weight)
        weight += np.float32(1)
        np.divide(gate, weight, out=weight)
        weight *= up
        product: Array = weight @ layer.down
        return product

    def _attend(
        self,
        index: int,
        layer: LayerWeights,
        hidden: Array,
        rope: tuple[Array, Array],
        batch: Batch,
        cache: KVCache,
        masks: Sequence[_Mask],
        causal: Sequence[Array],
    ) -> Array:
        config = self.config
        heads = (self._normalise(hidden) @ layer.qkv).reshape(len(hidden), -1, config.head_dim)
        rotated = self._rotate(heads[:, : config.heads + config.kv_heads], layer.head_norm, rope)
        queries, keys = rotated[:, : config.heads], rotated[:, config.heads :]
        values = heads[:, config.heads + config.kv_heads :]
        context = np.empty((len(hidden), config.heads * config.head_dim), np.float32)
        if len(hidden) > len(batch.tokens):
            context[-1] = 0  # the row that only fills up a batch of one
        if batch.decoding:
            self._decode(index, queries, keys, values, batch, cache, masks, context)
        for segment, mask in zip(batch.segments, causal, strict=True):
            self._prefill(index, queries, keys, values, segment, cache, mask, context)
        return context

    def _rotate(self, heads: Array, norm: Array, rope: tuple[Array, Array]) -> Array:
        """RMS-normalise each head and turn it by its position. (rows, heads, head_dim), both ways."""
        cos, sin = rope
        scale = np.einsum("nhd,nhd->nh", heads, heads)
        scale /= np.float32(self.config.head_dim)
        scale += np.float32(self.config.rms_norm_eps)
        np.sqrt(scale, out=scale)
        scaled = heads / scale[:, :, None]
        scaled *= norm
        halves = scaled.reshape(*scaled.shape[:2], 2, -1)
        turned = halves[:, :, ::-1] * sin
        halves = halves * cos
        halves += turned
        rotated: Array = halves.reshape(scaled.shape)
        return rotated

    def _decode(
        self,
        index: int,
        queries: Array,
        keys: Array,
        values: Array,
        batch: Batch,
        cache: KVCache,
        masks: Sequence[_Mask],
        context: Array,
    ) -> None:
        config, count = self.config, batch.decoding
        slots, positions = np.arange(count), batch.positions[:count]
        cache.keys[index][slots, :, :, positions] = keys[:count]
        cache.values[index][slots, :, positions] = values[:count]
        grouped = queries[:count].reshape(count, config.kv_heads, -1, config.head_dim)
        for rows, length, bias in masks:
            scores = grouped[rows] @ cache.keys[index, rows, :, :, :length]
            mixed = _mix(scores, bias, cache.values[index, rows, :, :length])
            context[rows] = mixed.reshape(len(mixed), -1)

    def _prefill(
        self,
        index: int,
        queries: Array,
        keys: Array,
        values: Array,
        segment: Segment,
        cache: KVCache,
        mask: Array,
        context: Array,
    ) -> None:
        config = self.config
        slot, start, rows = segment
        count, length = rows.stop - rows.start, mask.shape[-1]
        cache.keys[index, slot, :, :, start : start + count] = keys[rows].transpose(1, 2, 0)
        cache.values[index, slot, :, start : start + count] = values[rows].swapaxes(0, 1)
        grouped = queries[rows].reshape(count, config.kv_heads, -1, config.head_dim).transpose(1, 2, 0, 3)
        flat = grouped.reshape(config.kv_heads, -1, config.head_dim)
        scores = flat @ cache.keys[index, slot, :, :, :length]
        mixed = _mix(scores, mask, cache.values[index, slot, :, :length])
        context[rows] = mixed.reshape(grouped.shape).transpose(2, 0, 1, 3).reshape(count, -1)

    def _causal_mask(self, segment: Segment) -> Array:
        """(query heads per key head * tokens, padded length): 0 where a row may look, else minus infinity."""
        count = segment.rows.stop - segment.rows.start
        positions = np.arange(segment.start, segment.start + count)
        hidden = np.arange(padded(segment.start + count)) > positions[:, None]
        mask = np.where(hidden, _MASKED, np.float32(0))
        return np.tile(mask, (self.config.heads // self.config.kv_heads, 1))


def _mix(scores: Array, bias: Array, values: Array) -> Array:
    """Softmax of the scores over their last axis, applied to the values.

    Positions are summed in blocks that lie where they lie whatever the length: a BLAS library that splits a
    long sum by itself splits it by its length.
    """
    scores += bias
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    weighted, total = _sums(scores[..., :_BLOCK], values[..., :_BLOCK, :])
    for begin in range(_BLOCK, scores.shape[-1], _BLOCK):
        more = _sums(scores[..., begin : begin + _BLOCK], values[..., begin : begin + _BLOCK, :])
        weighted += more[0]
        total += more[1]
    weighted /= total
    return weighted


def _sums(weights: Array, values: Array) -> tuple[Array, Array]:
    """The weighted sum of the values and the sum of the weights, both over positions in their order."""
    ones = np.ones((weights.shape[-1], LANES), np.float32)
    total = weights.reshape(-1, weights.shape[-1]) @ ones
    return weights @ values, total[:, :1].reshape(*weights.shape[:-1], 1)


def _decode_masks(batch: Batch) -> list[_Mask]:
    masks = []
    for begin in range(0, batch.decoding, _ATTENTION_ROWS):
        rows = slice(begin, min(begin + _ATTENTION_ROWS, batch.decoding))
        positions = batch.positions[rows]
        length = padded(int(positions.max()) + 1)
        hidden = np.arange(length) > positions[:, None]
        masks.append(_Mask(rows, length, np.where(hidden, _MASKED, np.float32(0))[:, None, None]))
    return masks


def _rope_tables(weights: Weights) -> tuple[Array, Array]:
    """Cosines (positions, 1, half) and sines (positions, 2, half), the first row of sines negated.

    Computed in float32 from the powers on, as transformers and vLLM do: at position 2,000 the rounding of
    the angle shows in the fourth decimal.
    """
    config = weights.config
    powers = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    frequencies = np.float32(1) / np.power(np.float32(config.rope_theta), powers)
    angles = np.arange(config.max_positions, dtype=np.float32)[:, None] * frequencies
    sines = np.sin(angles)
    return np.cos(angles)[:, None], np.stack([-sines, sines], axis=1)
