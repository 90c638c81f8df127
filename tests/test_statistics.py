"""The estimators against brute force and closed forms."""

import itertools
import math
import statistics as stdlib

import numpy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rollway.statistics import (
    clustered_mean,
    clustered_mean_of_sums,
    group_advantages,
    pass_at_k,
    pass_hat_k,
    pass_rates,
    percentiles,
    powers_up_to,
)

rewards = st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 3))
T_95 = [  # the 0.975 quantiles of Student's t of 1 to 19 degrees of freedom, as SciPy 1.17.1 gave them
    *(12.70620473617, 4.302652729749, 3.182446305284, 2.776445105198, 2.570581835636, 2.446911851145),
    *(2.364624251593, 2.306004135204, 2.262157162798, 2.228138851986, 2.200985160092, 2.178812829667),
    *(2.160368656463, 2.144786687918, 2.13144954556, 2.119905299221, 2.109815577833, 2.100922040241),
    2.093024054408,
]
groups = st.lists(st.lists(rewards, max_size=5), min_size=1, max_size=8)


@st.composite
def counts(draw):
    n = draw(st.integers(1, 8))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


@given(counts())
def test_pass_at_k_and_pass_hat_k_are_what_enumerating_every_subset_gives(case):
    n, c, k = case
    drawn = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, drawn)) / len(drawn), abs=1e-12)
    assert pass_hat_k(n, c, k) == pytest.approx(sum(map(all, drawn)) / len(drawn), abs=1e-12)


@given(st.integers(0, 5), st.integers(1, 10))
def test_fewer_than_k_samples_give_no_pass_rate(n, beyond):
    assert pass_at_k(n, n, n + beyond) is None
    assert pass_hat_k(n, n, n + beyond) is None


def test_the_pass_estimators_are_unbiased():
    """Over all outcomes of n samples that pass with chance p, their mean is the true rate."""
    n, p = 5, 0.3
    for k in range(1, n + 1):
        chance = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
        assert sum(w * pass_at_k(n, c, k) for c, w in enumerate(chance)) == pytest.approx(1 - (1 - p) ** k)
        assert sum(w * pass_hat_k(n, c, k) for c, w in enumerate(chance)) == pytest.approx(p**k)


def test_a_tiny_pass_rate_of_many_samples_is_not_rounded_away():
    assert pass_at_k(10**17, 1, 1) == pytest.approx(1e-17)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_counts_that_cannot_be_are_refused(n, c, k):
    with pytest.raises(ValueError, match=f"n={n}, c={c}, k={k}"):
        pass_at_k(n, c, k)


def test_one_task_with_too_few_samples_makes_the_whole_rate_none_and_is_counted():
    rates = pass_rates([(4, 2), (3, 3), (0, 0)], [1, 4])
    assert [(rate.k, rate.pass_at_k, rate.pass_hat_k, rate.lacking) for rate in rates] == [
        (1, None, None, 1),
        (4, None, None, 2),
    ]


def test_pass_rates_weigh_tasks_equally_however_many_samples_they_have():
    (rate,) = pass_rates([(2, 2), (8, 0)], [2])
    assert rate.pass_at_k.mean == 0.5
    assert rate.pass_hat_k.mean == 0.5
    assert rate.pass_at_k.tasks == 2


def test_pass_rates_of_no_task_are_none():
    (rate,) = pass_rates([], [1])
    assert rate.pass_at_k is None
    assert rate.lacking == 0


@given(st.lists(rewards, min_size=2, max_size=20))
def test_one_value_per_task_is_the_usual_t_interval(values):
    estimate = clustered_mean([[value] for value in values])
    assert estimate.mean == pytest.approx(stdlib.fmean(values))
    error = stdlib.stdev(values) / math.sqrt(len(values))
    assert estimate.standard_error == pytest.approx(error, abs=1e-9)
    reach = T_95[len(values) - 2] * error
    assert estimate.low == pytest.approx(stdlib.fmean(values) - reach, abs=1e-6)
    assert estimate.high == pytest.approx(stdlib.fmean(values) + reach, abs=1e-6)


@given(
    st.integers(1, 5).flatmap(
        lambda m: st.lists(st.lists(rewards, min_size=m, max_size=m), min_size=2, max_size=9)
    )
)
def test_equally_many_values_per_task_are_the_t_interval_of_the_task_means(tasks):
    estimate = clustered_mean(tasks)
    means = [stdlib.fmean(task) for task in tasks]
    assert estimate.mean == pytest.approx(stdlib.fmean(means))
    assert estimate.standard_error == pytest.approx(stdlib.stdev(means) / math.sqrt(len(means)), abs=1e-9)


@given(groups)
def test_unequal_tasks_are_the_sandwich_of_a_regression_on_a_constant(tasks):
    """CR1 written out with matrices: (X'X)^-1 (sum of X_g' e_g e_g' X_g) (X'X)^-1, times G/(G-1)."""
    tasks = [task for task in tasks if task]
    assume(len(tasks) >= 2)
    y = numpy.concatenate(tasks)
    x = numpy.ones((len(y), 1))
    cluster = numpy.repeat(range(len(tasks)), [len(task) for task in tasks])
    bread = numpy.linalg.inv(x.T @ x)
    residual = y - y.mean()
    meat = sum(
        numpy.outer(score, score)
        for score in (x[cluster == g].T @ residual[cluster == g] for g in range(len(tasks)))
    )
    variance = (bread @ meat @ bread)[0, 0] * len(tasks) / (len(tasks) - 1)
    estimate = clustered_mean(tasks)
    assert estimate.standard_error == pytest.approx(math.sqrt(variance), abs=1e-9)
    assert (estimate.n, estimate.tasks) == (len(y), len(tasks))


def test_copies_of_one_sample_do_not_narrow_the_interval():
    once = clustered_mean([[0.0], [1.0], [1.0]])
    often = clustered_mean([[0.0] * 50, [1.0] * 50, [1.0] * 50])
    assert often.standard_error == pytest.approx(once.standard_error)
    assert (often.low, often.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """2,000 small runs of 12 tasks x 3 dependent samples, with a fixed seed: near 95% cover the mean."""
    random = numpy.random.default_rng(7)
    covered = 0
    for _ in range(2000):
        levels = random.normal(0.5, 0.3, size=12)
        estimate = clustered_mean(levels[:, None] + random.normal(0, 0.2, size=(12, 3)))
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.935 < covered / 2000 < 0.965


def test_one_task_gives_a_mean_and_no_interval():
    estimate = clustered_mean([[0.0, 1.0]])
    assert estimate.mean == 0.5
    assert (estimate.standard_error, estimate.low, estimate.high) == (None, None, None)


def test_tasks_without_a_value_do_not_count():
    assert clustered_mean([[], [1.0], []]).tasks == 1
    assert clustered_mean([[], []]) is None
    assert clustered_mean_of_sums([(0.0, 0)]) is None


def test_a_confidence_of_95_percent_is_not_written_95():
    with pytest.raises(ValueError, match="between 0 and 1"):
        clustered_mean([[1.0]], confidence=95)


@given(st.lists(rewards, min_size=1, max_size=30), st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_percentiles_lie_between_the_closest_ranks_in_proportion(values, points):
    ordered = sorted(values)
    expected = []
    for point in points:
        place = point / 100 * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        expected.append(below + (place - math.floor(place)) * (above - below))
    assert percentiles(values, points) == pytest.approx(expected, abs=1e-9)


def test_percentiles_of_nothing_are_none_and_odd_points_are_refused():
    assert percentiles([], [50]) is None
    with pytest.raises(ValueError, match="0, 100"):
        percentiles([1.0], [101])


@pytest.mark.parametrize(
    ("samples", "ks"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (0, [])]
)
def test_reported_k_are_the_powers_of_two_and_the_number_of_samples(samples, ks):
    assert powers_up_to(samples) == ks


@given(st.lists(st.none() | rewards, max_size=10))
def test_advantages_of_a_group_sum_to_zero_over_its_scored_samples(group):
    advantages = group_advantages(group)
    assert [value is None for value in advantages] == [value is None for value in group]
    scored = [value for value in advantages if value is not None]
    assert math.fsum(scored) == pytest.approx(0, abs=1e-9)


@given(st.lists(st.none() | rewards, max_size=10))
def test_divided_advantages_have_a_deviation_of_one_or_are_all_zero(group):
    scored = [value for value in group_advantages(group, divide_by_std=True) if value is not None]
    if any(scored):
        assert stdlib.stdev(scored) == pytest.approx(1)


@given(st.lists(rewards, min_size=1, max_size=10), st.integers(0, 10))
def test_a_sample_that_was_not_scored_changes_no_ones_advantage(group, place):
    place = min(place, len(group))
    with_failed = group_advantages([*group[:place], None, *group[place:]])
    assert with_failed.pop(place) is None
    assert with_failed == group_advantages(group)


def test_equal_rewards_give_advantages_of_exactly_zero():
    for divide in (False, True):
        assert group_advantages([0.1, 0.1, 0.1, None], divide_by_std=divide) == [0.0, 0.0, 0.0, None]
        assert group_advantages([0.7], divide_by_std=divide) == [0.0]
