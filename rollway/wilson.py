"""Wilson's score interval for a mean of values from 0 to 1, on an effective sample size.

The invariant: the interval lies within 0 to 1, holds the mean, and has a width whatever was seen.
"""

from __future__ import annotations

import math
from fractions import Fraction

ROUNDING = 1e-9
"""What rounding may add to a weighted sum of 1, or to a difference of 0."""


def are_proportions(least: float | Fraction, most: float | Fraction) -> bool:
    """Do values between these two lie from 0 to 1, but for rounding?"""
    return least >= -ROUNDING and most <= 1.0 + ROUNDING


def effective_size(mean: float, standard_error: float, *, draws: int, tasks: int) -> float:
    """How many independent draws would be as good: p (1 - p) / SE^2, and never more than there were.

    Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data" (Survey Methodology 24, 193-201), with their cap at the number of
    draws. Where no two tasks differ the error says nothing, and each task counts once.
    """
    variance = mean * (1.0 - mean)
    if standard_error <= ROUNDING or variance <= 0.0:
        return float(tasks)
    return min(float(draws), variance / (standard_error * standard_error))


def wilson_bounds(mean: float, size: float, reach: float) -> tuple[float, float]:
    """The p for which ``mean`` lies within ``reach`` standard errors sqrt(p (1 - p) / size).

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference" (JASA 22, 209-212).
    """
    share = min(max(mean, 0.0), 1.0)
    spread = reach * reach / size
    centre = share + spread / 2
    half = reach * math.sqrt(share * (1.0 - share) / size + spread / (4 * size))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return min(max(low, 0.0), mean), max(min(high, 1.0), mean)  # what is cut off is rounding
