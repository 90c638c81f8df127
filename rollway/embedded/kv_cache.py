"""Keys and values of the sequences in flight: one slot each, packed from slot 0, in slabs made once.

A slot's contents are valid up to the length that its owner keeps; what lies behind is stale but always
finite, so that a masked (zero) weight times it is zero.
"""

from __future__ import annotations

import numpy as np

from rollway.embedded.weights import Array, ModelConfig

LANES = 16
"""Sizes are padded to a multiple of this: BLAS then takes the same path for every size."""

_FIRST_CAPACITY = 256  # positions; short rows lie closer together, and most rollouts fit

Span = tuple[Array, Array]
"""Keys (layers, kv_heads, head_dim, n) and values (layers, kv_heads, n, head_dim) of one sequence."""


def padded(length: int) -> int:
    """``length`` rounded up to whole lanes."""
    return -(-length // LANES) * LANES


class KVCache:
    """``keys`` (layers, slots, kv_heads, head_dim, positions), ``values`` (..., positions, head_dim).

    Keys lie transposed, as the product with queries wants them.
    """

    def __init__(self, config: ModelConfig, *, slots: int, max_length: int) -> None:
        self._config = config
        self._slots = slots
        self._max_length = padded(max_length)
        self._allocate(min(self._max_length, _FIRST_CAPACITY))

    def _allocate(self, capacity: int) -> None:
        config = self._config
        self.capacity = capacity
        # Zeroed pages cost memory only when touched. A row of keys that is a power of two long would put all
        # rows into the same cache lines, hence the extra lanes.
        self.keys: Array = np.zeros(
            (config.layers, self._slots, config.kv_heads, config.head_dim, capacity + LANES), np.float32
        )
        self.values: Array = np.zeros(
            (config.layers, self._slots, config.kv_heads, capacity, config.head_dim), np.float32
        )

    def ensure(self, length: int, used_slots: int) -> None:
        """Make room for sequences of ``length`` tokens, keeping the first ``used_slots`` slots."""
        if length <= self.capacity:
            return
        old_keys, old_values, old = self.keys, self.values, self.capacity
        self._allocate(min(self._max_length, max(padded(length), 2 * old)))
        self.keys[:, :used_slots, :, :, :old] = old_keys[:, :used_slots, :, :, :old]
        self.values[:, :used_slots, :, :old] = old_values[:, :used_slots]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of a slot into another."""
        self.keys[:, target, :, :, :length] = self.keys[:, source, :, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]

    def read(self, slot: int, length: int) -> Span:
        """A copy of the first ``length`` positions of a slot."""
        return self.keys[:, slot, :, :, :length].copy(), self.values[:, slot, :, :length].copy()

    def write(self, slot: int, span: Span, length: int) -> None:
        """Put the first ``length`` positions of a span into a slot."""
        keys, values = span
        self.keys[:, slot, :, :, :length] = keys[..., :length]
        self.values[:, slot, :, :length] = values[:, :, :length]
