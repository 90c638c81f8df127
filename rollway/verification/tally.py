"""Adding up differences of logprobs. Four bytes a token are kept, for the percentile."""

from __future__ import annotations

import heapq
import itertools
import math
from array import array
from collections.abc import Sequence

import numpy as np

from rollway.verification.records import Differences, TokenDifference

WORST = 5
"""Tokens that are named."""


class DifferenceTally:
    """Differences of any number of tokens. `differences` may be asked at any moment."""

    def __init__(self) -> None:
        self._signed = array("f")

    def add(self, differences: Sequence[float]) -> None:
        """Enter recomputed - recorded, in nats."""
        self._signed.extend(differences)

    def differences(self) -> Differences:
        """What has been entered so far, summed up."""
        if not self._signed:
            return Differences(0)
        signed = np.frombuffer(self._signed, np.float32).astype(np.float64)
        size = np.abs(signed)
        with np.errstate(over="ignore"):
            kl = float(np.mean(np.expm1(signed) - signed))
        return Differences(
            tokens=len(signed),
            largest=float(size.max()),
            mean=float(size.mean()),
            p99=float(np.percentile(size, 99)),
            bias=float(signed.mean()),
            kl=kl if math.isfinite(kl) else None,
        )


class WorstTokens:
    """The tokens with the largest differences."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TokenDifference]] = []
        self._count = itertools.count()

    def reaches(self, size: float) -> bool:
        """Would a token that differs by ``size`` be among them?"""
        return len(self._heap) < WORST or size > self._heap[0][0]

    def add(self, token: TokenDifference) -> None:
        """Enter a token; it stays while no `WORST` others are worse."""
        entry = (abs(token.recomputed - token.recorded), next(self._count), token)
        if len(self._heap) < WORST:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def listed(self) -> list[TokenDifference]:
        """Largest first."""
        return [token for _, _, token in sorted(self._heap, key=lambda entry: -entry[0])]
