"""Sums and means of floats that neither the order of the terms nor their size changes.

The invariant: every sum is the exact one, rounded once. The mean of finite values is therefore always finite,
also where their sum is not, and a run that ended in another order has the same numbers to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import msgspec

NOTHING = Fraction(0)


def exact_sum(values: Iterable[float]) -> float:
    """The sum of finite values; infinite where no float is that large."""
    kept = list(values)
    try:
        return math.fsum(kept)
    except OverflowError:  # on the way, or in the end
        return rounded(sum(map(Fraction, kept), NOTHING))


def exact_mean(values: Iterable[float]) -> float:
    """The mean of one or more finite values."""
    kept = list(values)
    return rounded(sum(map(Fraction, kept), NOTHING) / len(kept))


def rounded(number: Fraction) -> float:
    """The nearest float, infinite beyond the largest."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


class RunningSum(msgspec.Struct):
    """Finite values, summed as they come."""

    total: Fraction = NOTHING
    count: int = 0
    least: float | Fraction = math.inf
    most: float | Fraction = -math.inf

    def add(self, value: float | Fraction) -> None:
        self.total += Fraction(value)
        self.count += 1
        self.least = min(self.least, value)
        self.most = max(self.most, value)

    @property
    def mean(self) -> float | None:
        """``None`` without a value."""
        return float(self.total / self.count) if self.count else None
