"""Sums that neither the order of the terms nor their size changes."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from rollway.sums import RunningSum, exact_mean, exact_sum

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(numbers, min_size=1, max_size=8), st.randoms())
def test_a_sum_is_the_exact_one_rounded_once_in_any_order(values, random):
    total = sum(map(Fraction, values))
    largest = Fraction(1.7976931348623157e308)
    if abs(total) <= largest:
        assert exact_sum(values) == float(total)
    assert exact_mean(values) == float(total / len(values))
    shuffled = random.sample(values, len(values))
    assert exact_sum(shuffled) == exact_sum(values)
    running = RunningSum()
    for value in shuffled:
        running.add(value)
    assert (running.mean, running.count) == (exact_mean(values), len(values))
    assert (running.least, running.most) == (min(values), max(values))


def test_a_sum_beyond_floats_is_infinite_and_one_that_only_passes_through_is_not():
    assert exact_sum([1.7e308, 1.7e308]) == math.inf
    assert exact_sum([-1.7e308, -1.7e308]) == -math.inf
    assert exact_sum([1.7e308, 1.7e308, -1.7e308]) == 1.7e308
    assert exact_sum([]) == 0.0
    assert RunningSum().mean is None
