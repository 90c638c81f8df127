"""The estimators behind every number that Rollway reports, as pure functions.

What cannot be estimated from what is there is ``None``, never a guess: an interval from one task, pass@k
from fewer than k samples, an advantage of a sample that was not scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Literal

import msgspec

from rollway.student_t import t_reach
from rollway.sums import NOTHING, RunningSum, rounded
from rollway.wilson import are_proportions, effective_size, wilson_bounds

FEW_TASKS = 8
"""With fewer tasks than this, an interval says so: docs/statistics.md has none measured."""

ROUNDING = Fraction(1, 10**14)
"""Rewards of one group that differ by no larger share are the same."""


class Estimate(msgspec.Struct, frozen=True):
    """A mean and how sure it is."""

    mean: float
    standard_error: float | None  # None with fewer than two tasks, and beyond the range of floats
    low: float | None  # bounds of the interval; None where there is none, and `note` says why
    high: float | None
    n: int  # values
    tasks: int  # clusters that the values came from
    method: Literal["wilson", "t"] | None = None  # how the bounds were made; None without them
    note: str | None = None  # why there is no interval, or what is wrong with it


class PassRate(msgspec.Struct, frozen=True):
    """pass@k and pass^k of a run, each the mean over tasks."""

    k: int
    pass_at_k: Estimate | None  # at least one of k samples passes; None when a task has fewer than k
    pass_hat_k: Estimate | None  # all of k samples pass; None when a task has fewer than k
    lacking: int  # tasks with fewer than k scored samples


def passes(reward: float, threshold: float) -> bool:
    """Is a reward at least the threshold, but for what rounding may have taken from it?

    A weighted sum of rewards is seldom a float to the last bit, so one billionth of the threshold is allowed
    for.
    """
    return reward >= threshold - 1e-9 * (abs(threshold) or 1e-3)


def clustered_mean(groups: Iterable[Sequence[float]], confidence: float = 0.95) -> Estimate | None:
    """The mean of all values, with an interval that knows which of them belong to one task.

    ``groups`` holds the finite values of each task; empty ones are left out. See
    `clustered_mean_of_sums` for the formulas; the interval is Wilson's where all values lie from 0 to 1.
    ``None`` when there is no value.
    """
    kept = [group for group in ([float(value) for value in group] for group in groups) if group]
    sums = [(sum(map(Fraction, group), NOTHING), len(group)) for group in kept]
    within = all(are_proportions(min(group), max(group)) for group in kept)
    return clustered_mean_of_sums(sums, confidence, proportions=within)


def mean_of_tasks(sums: Iterable[RunningSum]) -> Estimate | None:
    """`clustered_mean` of values that were summed task by task."""
    kept = [one for one in sums if one.count]
    within = all(are_proportions(one.least, one.most) for one in kept)
    return clustered_mean_of_sums([(one.total, one.count) for one in kept], proportions=within)


def mean_of_asked(sums: Iterable[RunningSum], *, tasks: int, samples: int) -> Estimate | None:
    """`mean_of_tasks` with 0 for whatever is missing of ``samples`` values for each of ``tasks``."""
    known = list(sums)
    within = all(are_proportions(one.least, one.most) for one in known if one.count)
    totals = [(one.total, samples) for one in known] + [(NOTHING, samples)] * (tasks - len(known))
    return clustered_mean_of_sums(totals, proportions=within)


def clustered_mean_of_sums(
    totals: Iterable[tuple[float | Fraction, int]],
    confidence: float = 0.95,
    *,
    proportions: bool = False,
    draws: int | None = None,
) -> Estimate | None:
    """`clustered_mean` from each task's (sum, count): with S_g and m_g of G tasks, N = sum of m_g,

        mean = sum(S_g) / N
        SE^2 = G / (G - 1) * sum((S_g - m_g * mean)^2) / N^2
        interval = mean -/+ t * SE, with the quantile t of G - 1 degrees of freedom

    This is the ratio estimator of survey sampling (Cochran 1977, 6.3), the same as the cluster-robust
    variance CR1 of a regression on a constant (Cameron and Miller 2015, with K = 1). Miller 2024, "Adding
    Error Bars to Evals" (arXiv 2411.00640), has it without G / (G - 1) and with the normal quantile, which
    is too narrow for few tasks. With equally many values per task it is the usual t interval of the task
    means, with one value per task the usual t interval of the values.

    Every value weighs the same, so a task with more scored samples weighs more.

    Args:
        proportions: every value lies from 0 to 1. The interval is then Wilson's with the same t, on n
            independent draws: n = min(N, mean (1 - mean) / SE^2), or G where SE is 0. See `rollway.wilson`.
            Why not the t interval, which leaves the range and has no width where all passed: Brown, Cai and
            DasGupta 2001 (Statistical Science 16, 101-133); Franco, Little, Louis and Slud 2019 (JSSAM 7,
            334-364).
        draws: the most independent draws that the values can stand for, in place of N.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    kept = [(Fraction(total), count) for total, count in totals if count > 0]
    if not kept:
        return None
    tasks, n = len(kept), sum(count for _, count in kept)
    exact = sum((total for total, _ in kept), NOTHING) / n
    mean = rounded(exact)
    if tasks < 2:
        return Estimate(mean, None, None, None, n, tasks, note="no interval: one task")
    error = _standard_error([total - count * exact for total, count in kept], n)
    reach = t_reach(tasks - 1, confidence)
    if proportions:
        size = effective_size(mean, error, draws=draws or n, tasks=tasks)
        low, high = wilson_bounds(mean, size, reach)
    else:
        low, high = mean - reach * error, mean + reach * error
    if not (math.isfinite(low) and math.isfinite(high)):
        known = error if math.isfinite(error) else None
        return Estimate(mean, known, None, None, n, tasks, note="no interval: beyond the range of numbers")
    method: Literal["wilson", "t"] = "wilson" if proportions else "t"
    return Estimate(mean, error, low, high, n, tasks, method, _doubt(tasks, has_width=low < high))


def _doubt(tasks: int, *, has_width: bool) -> str | None:
    """What is wrong with an interval."""
    if not has_width:
        return "no task differs: the interval has no width"
    return f"only {tasks} tasks: a rough interval" if tasks < FEW_TASKS else None


def _standard_error(deviations: Sequence[Fraction], n: int) -> float:
    """sqrt(G / (G - 1) * sum of squares) / n, in a unit in which no square is out of range."""
    unit = max(map(abs, deviations))
    if unit == 0:
        return 0.0
    tasks = len(deviations)
    squares = math.fsum(float(deviation / unit) ** 2 for deviation in deviations)
    return rounded(Fraction(math.sqrt(tasks / (tasks - 1) * squares)) * unit / n)


def pass_at_k(n: int, c: int, k: int) -> float | None:
    """The chance that at least one of k samples passes, from c passes among n: 1 - C(n-c, k) / C(n, k).

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374). ``None`` when n < k.

    Raises:
        ValueError: not 0 <= c <= n, or k < 1.
    """
    _check_counts(n, c, k)
    if n < k:
        return None
    ways = math.comb(n, k)
    return (ways - math.comb(n - c, k)) / ways  # whole numbers first: nothing is lost to rounding


def pass_hat_k(n: int, c: int, k: int) -> float | None:
    """The chance that all of k samples pass, from c passes among n: C(c, k) / C(n, k).

    The unbiased estimator of Yao et al. 2024, "tau-bench" (arXiv 2406.12045). ``None`` when n < k.

    Raises:
        ValueError: not 0 <= c <= n, or k < 1.
    """
    _check_counts(n, c, k)
    return None if n < k else math.comb(c, k) / math.comb(n, k)


def _check_counts(n: int, c: int, k: int) -> None:
    if not 0 <= c <= n or k < 1:
        raise ValueError(f"need 0 <= c <= n and k >= 1, got n={n}, c={c}, k={k}")


def pass_rates(counts: Sequence[tuple[int, int]], ks: Iterable[int]) -> list[PassRate]:
    """pass@k and pass^k, averaged over tasks with equal weight, for each k.

    ``counts`` holds (scored samples, passed samples) of every task that was asked, those without a score
    included. Where one task has fewer than k scored samples, the value for that k is ``None`` and
    ``lacking`` counts such tasks: an average over the others would be over easier or luckier tasks.
    """
    rates = []
    for k in ks:
        lacking = sum(1 for n, _ in counts if n < k)
        whole = bool(counts) and not lacking
        rates.append(
            PassRate(
                k=k,
                pass_at_k=_mean_over_tasks(pass_at_k, counts, k) if whole else None,
                pass_hat_k=_mean_over_tasks(pass_hat_k, counts, k) if whole else None,
                lacking=lacking,
            )
        )
    return rates


def _mean_over_tasks(
    rate: Callable[[int, int, int], float | None], counts: Sequence[tuple[int, int]], k: int
) -> Estimate | None:
    """n samples hold n // k sets of k that share none: so many draws, however many sets are averaged over."""
    values = [rate(n, c, k) for n, c in counts]
    return clustered_mean_of_sums(
        [(value, 1) for value in values if value is not None],
        proportions=True,
        draws=sum(n // k for n, _ in counts),
    )


def powers_up_to(samples: int) -> list[int]:
    """The k that are reported for so many samples a task: 1, 2, 4, ... and ``samples`` itself."""
    ks = [1 << power for power in range(samples.bit_length()) if 1 << power < samples]
    return [*ks, samples] if samples >= 1 else []


def percentiles(values: Iterable[float], points: Sequence[float]) -> list[float] | None:
    """The values below which so many percent lie, by linear interpolation between the closest ranks.

    ``points`` in percent, each from 0 to 100. The definition is number 7 of Hyndman and Fan 1996, NumPy's
    default. ``None`` when there is no value.

    Raises:
        ValueError: a point is outside 0 to 100.
    """
    import numpy as np  # here, so that `import rollway` does not pay for it

    array = np.fromiter(values, dtype=float)
    if not len(array):
        return None
    unit = 4.0 if np.abs(array).max() > 1e300 else 1.0  # the difference of two ranks must be a number, too
    return [float(point) * unit for point in np.percentile(array / unit, points)]


def group_advantages(rewards: Sequence[float | None], *, divide_by_std: bool = False) -> list[float | None]:
    """Each reward minus the mean of its group (GRPO, Shao et al. 2024, arXiv 2402.03300).

    Mean and deviation are over the scored samples; one that was not scored (``None``) has no advantage.
    With ``divide_by_std`` the difference is divided by the sample standard deviation (n - 1), as GRPO
    does; without it, it is Dr. GRPO (Liu et al. 2025, arXiv 2503.20783). Where all scored rewards are
    equal, one alone included, every advantage is exactly 0; so it is where they differ by no more than the
    rounding of a weighted sum. One that is beyond the range of floats is ``None``.
    """
    scored = [Fraction(reward) for reward in rewards if reward is not None]
    if not scored or max(scored) - min(scored) <= ROUNDING * max(map(abs, scored)):
        return [None if reward is None else 0.0 for reward in rewards]
    mean = sum(scored, NOTHING) / len(scored)
    unit = max(abs(reward - mean) for reward in scored)
    parts = [None if reward is None else float((Fraction(reward) - mean) / unit) for reward in rewards]
    if divide_by_std:
        squares = math.fsum(part * part for part in parts if part is not None)
        deviation = math.sqrt(squares / (len(scored) - 1))
        return [None if part is None else part / deviation for part in parts]
    values = [None if part is None else rounded(Fraction(part) * unit) for part in parts]
    return [value if value is None or math.isfinite(value) else None for value in values]
