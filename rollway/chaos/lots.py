"""Chance that is the same in every process and every sitting: a number for a seed and some words.

The invariant: a lot depends on its words alone, never on time, order or process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


def lot(seed: int, *words: object) -> float:
    """A number that is evenly spread over [0, 1)."""
    text = "\0".join(map(str, (seed, *words)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def chosen(items: Sequence[_T], seed: int, *words: object) -> _T:
    """One of ``items``, each as likely as the others."""
    return items[int(lot(seed, *words) * len(items))]
