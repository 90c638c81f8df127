"""Which earlier sequence begins like a new prompt, so that its keys and values need not be computed again.

A match is always checked token by token; the hashes only find candidates. Stored sequences are bounded in
tokens, and the one that was used the longest time ago goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rollway.embedded.kv_cache import Span

BLOCK = 16
"""Tokens between two places at which a prompt can be found again."""

Tokens = NDArray[np.int64]


class Prefix:
    """A sequence whose keys and values exist: in a slot while it runs, in a span of its own afterwards."""

    __slots__ = ("hashes", "slot", "span", "tokens")

    def __init__(self, tokens: Tokens, slot: int) -> None:
        self.tokens = tokens  # those whose keys and values are there
        self.slot: int | None = slot  # None once it is stored
        self.span: Span | None = None
        self.hashes: list[int] = []


class PrefixCache:
    """Finds the `Prefix` that shares most with a prompt.

    Args:
        max_tokens: how many tokens stored sequences may hold together; 0 stores none.
    """

    def __init__(self, *, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._held = 0
        self._stored: OrderedDict[int, Prefix] = OrderedDict()  # by id(), the next to go first
        self._index: dict[int, Prefix] = {}

    @property
    def held_tokens(self) -> int:
        """Tokens of stored sequences."""
        return self._held

    def fits(self, length: int) -> bool:
        """Whether a sequence of this length may be kept at all."""
        return length <= self._max_tokens

    def match(self, prompt: Tokens, hashes: Sequence[int]) -> tuple[Prefix | None, int]:
        """The best candidate and how many tokens it shares with the prompt, at most all but the last."""
        for value in reversed(hashes):
            prefix = self._index.get(value)
            if prefix is None:
                continue
            shared = shared_length(prefix.tokens, prompt[:-1])
            if shared == 0:
                continue
            if id(prefix) in self._stored:
                self._stored.move_to_end(id(prefix))
            return prefix, shared
        return None, 0

    def publish(self, prefix: Prefix, hashes: Sequence[int]) -> None:
        """Make a running sequence findable. It stays so until `store` or `forget`."""
        prefix.hashes.extend(hashes)
        for value in hashes:
            self._index[value] = prefix

    def store(self, prefix: Prefix, tokens: Tokens, span: Span) -> None:
        """Keep a sequence that no longer runs, with all tokens whose keys and values are known; it `fits`."""
        prefix.tokens, prefix.slot, prefix.span = tokens, None, span
        self._stored[id(prefix)] = prefix
        self._held += len(tokens)
        self.publish(prefix, block_hashes(tokens))
        while self._held > self._max_tokens:
            self._drop(next(iter(self._stored.values())))

    def supersede(self, prefix: Prefix | None, longer: Tokens) -> None:
        """Drop a stored sequence if ``longer`` begins with all of it."""
        if prefix is None or id(prefix) not in self._stored:
            return
        if shared_length(prefix.tokens, longer) == len(prefix.tokens):
            self._drop(prefix)

    def forget(self, prefix: Prefix) -> None:
        """Make a sequence unfindable."""
        for value in prefix.hashes:
            if self._index.get(value) is prefix:
                del self._index[value]
        prefix.hashes.clear()

    def _drop(self, prefix: Prefix) -> None:
        del self._stored[id(prefix)]
        self._held -= len(prefix.tokens)
        prefix.span = None
        self.forget(prefix)


def block_hashes(tokens: Tokens) -> list[int]:
    """One hash for every whole block, each covering all tokens up to the block's end."""
    raw, width = tokens.tobytes(), tokens.itemsize * BLOCK
    hashes: list[int] = []
    value = 0
    for end in range(width, len(raw) + 1, width):
        value = hash((value, raw[end - width : end]))
        hashes.append(value)
    return hashes


def shared_length(first: Tokens, second: Tokens) -> int:
    """How many tokens two sequences have in common from the start."""
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length
