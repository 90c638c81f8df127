"""Intervals: how often they cover the rate that the passes were drawn with.

Each run draws a rate for every task, from a beta distribution whose mean is the rate and whose intra-task
correlation is ``alike`` (0: all tasks have one rate; 1: all samples of a task end alike), and from it the
passes of its samples. A 95% interval should hold the rate in 95% of the runs. The seed is fixed.
``python -m benchmarks.bench_intervals`` prints the table of ``docs/statistics.md``.
"""

from __future__ import annotations

import numpy as np

from rollway.statistics import clustered_mean_of_sums

RUNS = 20_000
RATES = (0.5, 0.9, 0.98)
TASKS = (8, 20, 50, 200)
SAMPLES = {1: (0.0,), 4: (0.0, 0.3, 0.6, 0.8, 1.0), 16: (0.3, 0.6)}


def coverage(rate: float, tasks: int, samples: int, alike: float, *, runs: int = RUNS) -> float:
    """The share of ``runs`` whose interval holds the rate."""
    random = np.random.default_rng([round(rate * 100), tasks, samples, round(alike * 100)])
    passed = random.binomial(samples, _rates(random, rate, alike, (runs, tasks)))
    seen: dict[tuple[int, ...], bool] = {}
    covered = 0
    for counts in np.sort(passed, axis=1).tolist():
        key = tuple(counts)
        if key not in seen:
            estimate = clustered_mean_of_sums([(count, samples) for count in counts], proportions=True)
            assert estimate is not None
            assert estimate.low is not None
            assert estimate.high is not None
            seen[key] = estimate.low <= rate <= estimate.high
        covered += seen[key]
    return covered / runs


def _rates(random: np.random.Generator, rate: float, alike: float, shape: tuple[int, int]) -> np.ndarray:
    if alike == 0.0:
        return np.full(shape, rate)
    if alike == 1.0:
        return random.binomial(1, rate, size=shape).astype(float)
    size = 1 / alike - 1
    return random.beta(rate * size, (1 - rate) * size, size=shape)


def main() -> None:
    print("| samples | alike | rate | " + " | ".join(f"{tasks} tasks" for tasks in TASKS) + " |")
    print("|---" * (3 + len(TASKS)) + "|")
    for samples, degrees in SAMPLES.items():
        for alike in degrees:
            for rate in RATES:
                found = [coverage(rate, tasks, samples, alike) for tasks in TASKS]
                shown = " | ".join(f"{share:.1%}" for share in found)
                print(f"| {samples} | {alike:g} | {rate:g} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
