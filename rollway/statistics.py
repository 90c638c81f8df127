"""The estimators behind every number that Rollway reports, as pure functions.

What cannot be estimated from what is there is ``None``, never a guess: an interval from one task, pass@k
from fewer than k samples, an advantage of a sample that was not scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from rollway.student_t import t_reach


class Estimate(msgspec.Struct, frozen=True):
    """A mean and how sure it is."""

    mean: float
    standard_error: float | None  # None with fewer than two tasks
    low: float | None  # bounds of the interval; None with fewer than two tasks
    high: float | None
    n: int  # values
    tasks: int  # clusters that the values came from


class PassRate(msgspec.Struct, frozen=True):
    """pass@k and pass^k of a run, each the mean over tasks."""

    k: int
    pass_at_k: Estimate | None  # at least one of k samples passes; None when a task has fewer than k
    pass_hat_k: Estimate | None  # all of k samples pass; None when a task has fewer than k
    lacking: int  # tasks with fewer than k scored samples


def clustered_mean(groups: Iterable[Sequence[float]], confidence: float = 0.95) -> Estimate | None:
    """The mean of all values, with an interval that knows which of them belong to one task.

    ``groups`` holds the finite values of each task; empty ones are left out. See
    `clustered_mean_of_sums` for the formula. ``None`` when there is no value.
    """
    return clustered_mean_of_sums(((math.fsum(group), len(group)) for group in groups), confidence)


def clustered_mean_of_sums(totals: Iterable[tuple[float, int]], confidence: float = 0.95) -> Estimate | None:
    """`clustered_mean` from each task's (sum, count): with S_g and m_g of G tasks, N = sum of m_g,

        mean = sum(S_g) / N
        SE^2 = G / (G - 1) * sum((S_g - m_g * mean)^2) / N^2
        interval = mean -/+ t(G - 1 degrees of freedom) * SE

    This is the ratio estimator of survey sampling (Cochran 1977, 6.3), the same as the cluster-robust
    variance CR1 of a regression on a constant (Cameron and Miller 2015, with K = 1). Miller 2024, "Adding
    Error Bars to Evals" (arXiv 2411.00640), has it without G / (G - 1) and with the normal quantile, which
    is too narrow for few tasks. With equally many values per task it is the usual t interval of the task
    means, with one value per task the usual t interval of the values.

    Every value weighs the same, so a task with more scored samples weighs more.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    kept = [(total, count) for total, count in totals if count > 0]
    if not kept:
        return None
    tasks, n = len(kept), sum(count for _, count in kept)
    mean = math.fsum(total for total, _ in kept) / n
    if tasks < 2:
        return Estimate(mean=mean, standard_error=None, low=None, high=None, n=n, tasks=tasks)
    squares = math.fsum((total - count * mean) ** 2 for total, count in kept)
    error = math.sqrt(tasks / (tasks - 1) * squares) / n
    reach = t_reach(tasks - 1, confidence) * error
    return Estimate(mean=mean, standard_error=error, low=mean - reach, high=mean + reach, n=n, tasks=tasks)


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
                pass_at_k=_mean_over_tasks([pass_at_k(n, c, k) for n, c in counts]) if whole else None,
                pass_hat_k=_mean_over_tasks([pass_hat_k(n, c, k) for n, c in counts]) if whole else None,
                lacking=lacking,
            )
        )
    return rates


def _mean_over_tasks(values: Sequence[float | None]) -> Estimate | None:
    return clustered_mean_of_sums((value, 1) for value in values if value is not None)


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
    return list(map(float, np.percentile(array, points))) if len(array) else None


def group_advantages(rewards: Sequence[float | None], *, divide_by_std: bool = False) -> list[float | None]:
    """Each reward minus the mean of its group (GRPO, Shao et al. 2024, arXiv 2402.03300).

    Mean and deviation are over the scored samples; one that was not scored (``None``) has no advantage.
    With ``divide_by_std`` the difference is divided by the sample standard deviation (n - 1), as GRPO
    does; without it, it is Dr. GRPO (Liu et al. 2025, arXiv 2503.20783). Where all scored rewards are
    equal, one alone included, every advantage is exactly 0.
    """
    scored = [reward for reward in rewards if reward is not None]
    if not scored or min(scored) == max(scored):
        return [None if reward is None else 0.0 for reward in rewards]
    mean = math.fsum(scored) / len(scored)
    scale = math.dist(scored, [mean] * len(scored)) / math.sqrt(len(scored) - 1) if divide_by_std else 1.0
    return [None if reward is None else (reward - mean) / scale for reward in rewards]
