"""The small containers that a summary is counted in: scores by task, spreads of numbers, capped counters."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping

import msgspec

from rollway.statistics import passes, percentiles
from rollway.sums import RunningSum, exact_mean

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
    reward: RunningSum = msgspec.field(default_factory=RunningSum)
    passed: int = 0
    rewards: dict[str, RunningSum] = {}  # by name

    @property
    def scored(self) -> int:
        return self.reward.count

    def see(self, sample_index: int) -> bool:
        """Note that a sample is on record. False when it was already."""
        bit = 1 << sample_index
        new = not self.samples & bit
        self.samples |= bit
        return new

    def score(self, reward: float, rewards: Mapping[str, float], pass_threshold: float) -> None:
        self.reward.add(reward)
        self.passed += passes(reward, pass_threshold)
        for name, value in rewards.items():
            self.rewards.setdefault(name, RunningSum()).add(value)


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
        mean = exact_mean(self._values)
        return Spread(len(self._values), mean, *points)

    def histogram(self, most: int = 20) -> list[Bin]:
        """A limited number of bars of one width; one bar per value if there are few values."""
        if not self._values:
            return []
        distinct = sorted(set(self._values))
        if len(distinct) <= most:
            counts = Counter(self._values)
            return [Bin(value, value, counts[value]) for value in distinct]
        low, high = distinct[0] / 2, distinct[-1] / 2  # halves, whose distance is a number
        width = (high - low) / most
        places = Counter(min(int((value / 2 - low) / width), most - 1) for value in self._values)
        edges = [2 * (low + i * width) for i in range(most)] + [distinct[-1]]
        return [Bin(edges[i], edges[i + 1], places[i]) for i in range(most)]


def capped(name: str, known: Mapping[str, object]) -> str:
    """``name``, or `OTHER` when there are already `MOST_NAMES` known ones and it is none of them."""
    return name if name in known or len(known) < MOST_NAMES else OTHER


def largest_first(counter: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
