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
    passes,
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
RUNS = 400  # benchmarks/bench_intervals.py draws more of more cases
COVERED = [  # rate, tasks, samples, and a + b of the beta distribution of the tasks' rates: 0 is one for all
    *[(0.5, 20, 1, 0), (0.9, 8, 1, 0), (0.98, 50, 1, 0), (0.9, 20, 4, 0), (0.5, 20, 4, 2.3)],
    *[(0.9, 50, 4, 2.3), (0.98, 8, 4, 2.3), (0.98, 50, 4, 0.25)],
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
    estimate = clustered_mean_of_sums((value, 1) for value in values)
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
    assert (estimate.method, estimate.note) == (None, "no interval: one task")


def test_an_interval_of_few_tasks_says_so():
    assert clustered_mean([[0.0]] * 7).note == "only 7 tasks: a rough interval"
    assert clustered_mean([[0.0]] * 8).note is None


shares = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=5), min_size=2, max_size=12)


@given(shares | st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=5), min_size=2))
def test_the_interval_of_values_from_0_to_1_stays_within_and_has_a_width(tasks):
    estimate = clustered_mean(tasks)
    assert estimate.method == "wilson"
    assert 0.0 <= estimate.low <= estimate.mean <= estimate.high <= 1.0
    assert estimate.high - estimate.low > 1e-9


@given(shares)
def test_its_bounds_are_the_rates_that_are_t_errors_away_on_the_effective_size(tasks):
    """Put back into sqrt(p (1 - p) / n), each bound is t of them away from the mean."""
    estimate = clustered_mean(tasks)
    p, se = estimate.mean, estimate.standard_error
    assume(se > 1e-6)
    size = min(sum(map(len, tasks)), p * (1 - p) / se**2)
    for bound in (estimate.low, estimate.high):
        error = T_95[len(tasks) - 2] * math.sqrt(bound * (1 - bound) / size)
        assert abs(bound - p) == pytest.approx(error, rel=1e-6, abs=1e-9)


def test_where_no_task_differs_each_counts_once_however_many_samples_it_has():
    alike = clustered_mean([[1.0] * 50] * 10)
    assert alike.standard_error == 0
    assert alike.low == pytest.approx(10 / (10 + T_95[8] ** 2))
    assert alike.high == 1.0
    assert clustered_mean([[1.0]] * 10).low == alike.low


def test_an_interval_without_a_width_says_so():
    estimate = clustered_mean([[2.0]] * 10)
    assert (estimate.low, estimate.high) == (2.0, 2.0)
    assert estimate.note == "no task differs: the interval has no width"


def test_values_beyond_0_to_1_keep_the_t_interval():
    estimate = clustered_mean([[0.0], [1.0], [2.0]])
    assert estimate.method == "t"
    assert estimate.low < 0


def test_a_weighted_sum_that_is_1_but_for_rounding_is_within_the_range():
    assert clustered_mean([[1.0000000000000002], [0.0], [-1e-17]]).method == "wilson"


def test_pass_at_1_has_the_interval_of_the_mean_of_passes():
    passes_of_tasks = [[1.0, 1.0, 0.0, 1.0], [0.0] * 4, [1.0] * 4, [1.0, 0.0, 0.0, 0.0]] * 3
    (rate,) = pass_rates([(4, int(sum(task))) for task in passes_of_tasks], [1])
    mean = clustered_mean(passes_of_tasks)
    assert (rate.pass_at_k.low, rate.pass_at_k.high) == pytest.approx((mean.low, mean.high))


@pytest.mark.parametrize(("rate", "tasks", "samples", "alike"), COVERED)
def test_the_intervals_of_rates_cover_them_as_often_as_they_say(rate, tasks, samples, alike):
    random = numpy.random.default_rng(11)
    covered = 0
    for _ in range(RUNS):
        rates = random.beta(rate * alike, (1 - rate) * alike, size=tasks) if alike else [rate] * tasks
        estimate = clustered_mean_of_sums(
            [(int(passed), samples) for passed in random.binomial(samples, rates, size=tasks)],
            proportions=True,
        )
        covered += estimate.low <= rate <= estimate.high
    assert 0.93 <= covered / RUNS <= 0.995


@given(st.lists(st.lists(rewards, min_size=1, max_size=4), min_size=2, max_size=6), st.integers(150, 300))
def test_a_reward_of_1e200_is_a_number_like_any_other(tasks, power):
    """All that is estimated from values a power of ten larger is that power of ten larger."""
    tasks = [[value + 2.0 for value in task] for task in tasks]  # not all of them from 0 to 1
    small = clustered_mean_of_sums((math.fsum(task), len(task)) for task in tasks)
    big = clustered_mean([[value * 10.0**power for value in task] for task in tasks])
    assume(big.method == "t")
    for field in ("mean", "standard_error", "low", "high"):
        expected = pytest.approx(getattr(small, field), rel=1e-9, abs=1e-9)
        assert getattr(big, field) / 10.0**power == expected
    one, other = group_advantages(tasks[0]), group_advantages([v * 10.0**power for v in tasks[0]])
    assert [value / 10.0**power for value in other] == pytest.approx(one, rel=1e-9, abs=1e-9)


def test_an_interval_beyond_the_range_of_floats_is_none_with_the_reason():
    estimate = clustered_mean([[1.7e308], [-1.7e308]])
    assert (estimate.mean, estimate.low, estimate.high) == (0.0, None, None)
    assert "beyond" in estimate.note
    assert clustered_mean([[1e308, 1e308], [1e308, 1e308]]).mean == 1e308


def test_advantages_beyond_the_range_of_floats_are_none_unless_they_are_divided():
    assert group_advantages([1.7e308, 1.7e308, -1.7e308]) == [pytest.approx(1.1333e308, rel=1e-3)] * 2 + [
        None
    ]
    whole = group_advantages([1.7e308, -1.7e308], divide_by_std=True)
    assert whole == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])


def test_rewards_that_differ_by_the_rounding_of_a_sum_have_no_advantage():
    assert group_advantages([0.1 * 3, 0.3], divide_by_std=True) == [0.0, 0.0]


def test_percentiles_of_huge_values_are_numbers():
    assert percentiles([-1.7e308, 1.7e308], [50]) == [0.0]


@pytest.mark.parametrize(
    ("reward", "threshold", "passed"),
    [
        (1.0, 1.0, True),
        (0.7 + 0.2 + 0.1, 1.0, True),  # 0.9999999999999999
        (1 - 1e-8, 1.0, False),
        (0.1 + 0.2 - 0.3000000000000001, 0.0, True),
        (-1e-9, 0.0, False),
        (-3.0000000000000004, -3.0, True),
        (1e200, 1e200, True),
        (0.9e200, 1e200, False),
    ],
)
def test_whether_a_sample_passed_does_not_hang_on_the_last_bit(reward, threshold, passed):
    assert passes(reward, threshold) is passed


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
