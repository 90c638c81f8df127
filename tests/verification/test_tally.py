"""The numbers are what their definitions say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.verification import TokenDifference
from rollway.verification.tally import WORST, DifferenceTally, WorstTokens

differences = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=200)


@given(differences)
def test_differences_are_summed_up_by_their_definitions(values: list[float]) -> None:
    tally = DifferenceTally()
    for value in values:
        tally.add([value])
    found, sizes = tally.differences(), [abs(value) for value in values]
    assert found.tokens == len(values)
    assert found.largest == max(sizes)
    assert found.mean == pytest.approx(math.fsum(sizes) / len(sizes))
    assert found.bias == pytest.approx(math.fsum(values) / len(values), abs=1e-9)
    assert found.p99 == pytest.approx(np.quantile(sizes, 0.99))
    exact = math.fsum(math.exp(value) - 1 - value for value in values) / len(values)
    assert found.kl == pytest.approx(exact, rel=1e-9, abs=1e-9)


def test_the_estimate_is_the_kl_divergence_of_known_distributions() -> None:
    rng = np.random.default_rng(0)
    sampling, other = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(8))
    tokens = rng.choice(8, 200_000, p=sampling)
    tally = DifferenceTally()
    tally.add((np.log(other) - np.log(sampling))[tokens])
    exact = float((sampling * np.log(sampling / other)).sum())
    assert tally.differences().kl == pytest.approx(exact, rel=0.02)
    assert tally.differences().bias == pytest.approx(-exact, rel=0.02)


def test_without_a_token_nothing_is_known() -> None:
    found = DifferenceTally().differences()
    assert (found.tokens, found.largest, found.mean, found.p99, found.kl) == (0, None, None, None, None)


def test_a_divergence_past_all_numbers_is_none() -> None:
    tally = DifferenceTally()
    tally.add([9999.0])
    assert tally.differences().kl is None


@given(st.lists(st.floats(-9, 9), max_size=30))
def test_the_worst_tokens_are_kept(values: list[float]) -> None:
    worst = WorstTokens()
    for place, value in enumerate(values):
        if worst.reaches(abs(value)):
            worst.add(TokenDifference("t", "t", 0, 0, place, 7, recorded=0.0, recomputed=value))
    kept = [abs(token.recomputed) for token in worst.listed()]
    assert kept == sorted((abs(value) for value in values), reverse=True)[:WORST]
