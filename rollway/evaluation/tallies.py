"""The small containers that a summary is counted in: scores by task, spreads of numbers, capped counters."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping

import msgspec

from rollway.statistics import percentiles

MOST_NAMES = 200
"""A model can invent any number of tool names; those after this many are counted together."""

OTHER = "(other)"


class Spread(msgspec.Struct, frozen=True):
    """How numbers are spread. Percentiles by linear interpolation."""

    n: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


class Bin(msgspec.Struct, frozen=True):
    """One bar of a histogram: low <= value < high, in the last one also value = high.

    A bar of one single value has low = high.
    """

    low: float
    high: float
    count: int


class TaskScores(msgspec.Struct):
    """The scores of one task's samples, summed as they come."""

    samples: int = 0  # bit i is set when sample i is on record
    reward_sum: float = 0.0
    scored: int = 0
    passed: int = 0
    reward_sums: dict[str, float] = {}  # by reward function
    reward_counts: dict[str, int] = {}

    def see(self, sample_index: int) -> bool:
        """Note that a sample is on record. False when it was already."""
        bit = 1 << sample_index
        new = not self.samples & bit
        self.samples |= bit
        return new

    def score(self, reward: float, rewards: Mapping[str, float], pass_threshold: float) -> None:
        self.reward_sum += reward
        self.scored += 1
        self.passed += reward >= pass_threshold
        for name, value in rewards.items():
            self.reward_sums[name] = self.reward_sums.get(name, 0.0) + value
            self.reward_counts[name] = self.reward_counts.get(name, 0) + 1


class Numbers:
    """Numbers of which a spread or a histogram is wanted in the end: eight bytes each."""

    def __init__(self) -> None:
        self._values = array("d")

    def add(self, value: float) -> None:
        self._values.append(value)

    def spread(self) -> Spread | None:
        """``None`` when there is no number."""
        points = percentiles(self._values, [50, 90, 99, 100])
        if points is None:
            return None
        mean = math.fsum(self._values) / len(self._values)
        return Spread(len(self._values), mean, *points)

    def histogram(self, most: int = 20) -> list[Bin]:
        """A limited number of bars of one width; one bar per value if there are few values."""
        if not self._values:
            return []
        distinct = sorted(set(self._values))
        if len(distinct) <= most:
            counts = Counter(self._values)
            return [Bin(value, value, counts[value]) for value in distinct]
        low, width = distinct[0], (distinct[-1] - distinct[0]) / most
        places = Counter(min(int((value - low) / width), most - 1) for value in self._values)
        return [Bin(low + i * width, low + (i + 1) * width, places[i]) for i in range(most)]


def capped(name: str, known: Mapping[str, object]) -> str:
    """``name``, or `OTHER` when there are already `MOST_NAMES` known ones and it is none of them."""
    return name if name in known or len(known) < MOST_NAMES else OTHER


def largest_first(counter: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
