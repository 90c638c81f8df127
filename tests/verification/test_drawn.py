"""Tokens that were drawn as the record says are never accused, and those that were not are found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rollway.verification.drawn import FALSE_ALARM, DrawTally
from rollway.verification.laws import Draw

VOCABULARY = 60
TOP = 20
NEUTRAL = {"defaults": "neutral", "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0}

Floats = NDArray[np.float64]


def distributions(rows: int, seed: int, sharpness: float = 0.08) -> Floats:
    """(rows, vocabulary), each falling: a few likely tokens and a long tail."""
    drawn = np.random.default_rng(seed).dirichlet(np.full(VOCABULARY, sharpness), size=rows)
    falling: Floats = -np.sort(-(drawn + 1e-5) / (1 + VOCABULARY * 1e-5), axis=1)
    return falling


def cut(p: Floats, stated: dict[str, Any]) -> Floats:
    """What vLLM draws from: temperature, then min_p, top_k, top_p."""
    weights = p ** (1 / stated.get("temperature", 1.0))
    weights = np.where(weights >= stated.get("min_p", 0.0) * weights[:, :1], weights, 0.0)
    if stated.get("top_k", -1) > 0:
        weights[:, stated["top_k"] :] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    before = weights.cumsum(axis=1) - weights
    weights = np.where((before < stated.get("top_p", 1.0)) | (before == 0), weights, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def penalised(p: Floats, seen: NDArray[np.bool_]) -> Floats:
    weights = np.where(seen, p * 0.4, p)
    return weights / weights.sum(axis=1, keepdims=True)


def tally(p: Floats, places: NDArray[np.int64], seen: NDArray[np.bool_], stated: dict[str, Any]) -> DrawTally:
    found = DrawTally(TOP)
    heads = np.log(p[:, :TOP]).tolist()
    rows = zip(heads, np.minimum(places, TOP).tolist(), seen[:, :TOP].tolist(), strict=True)
    found.add([Draw(*row) for row in rows], stated)
    return found


def draw(law: Floats, seed: int) -> NDArray[np.int64]:
    at = np.random.default_rng([7, seed]).random(len(law))
    places: NDArray[np.int64] = (law.cumsum(axis=1) <= at[:, None]).sum(axis=1)
    return np.minimum(places, VOCABULARY - 1)


def some_seen(rows: int, seed: int) -> NDArray[np.bool_]:
    return np.random.default_rng([3, seed]).random((rows, VOCABULARY)) < 0.3


STATED = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.5},
    {"top_k": 5},
    {"top_p": 0.9},
    {"min_p": 0.1},
    {"temperature": 0.6, "top_k": 8, "top_p": 0.95, "min_p": 0.02},
]


@pytest.mark.parametrize("stated", STATED, ids=str)
@given(seed=st.integers(0, 10**6), sharpness=st.sampled_from([0.01, 0.1, 1.0, 10.0]))
@settings(max_examples=20)
def test_no_bet_is_worth_more_than_its_stake_to_an_honest_run(
    stated: dict[str, Any], seed: int, sharpness: float
) -> None:
    """At a single token, over all that may be drawn: the expected value of every bet is at most its stake."""
    p, seen = distributions(1, seed, sharpness), some_seen(1, seed)
    law = cut(p.copy(), stated)[0]
    worth = []
    for place in range(VOCABULARY):
        found = tally(p, np.array([place]), seen, NEUTRAL | stated)
        found.result()
        worth.append(np.exp(found._values))
    assert (law @ np.array(worth)).max() <= 1 + 1e-5


@pytest.mark.parametrize("stated", STATED, ids=str)
def test_an_honest_run_is_not_accused(stated: dict[str, Any]) -> None:
    for seed in range(15):
        p, seen = distributions(1500, seed), some_seen(1500, seed)
        found = tally(p, draw(cut(p.copy(), stated), seed), seen, NEUTRAL | stated).result()
        assert found.suspicion is None
        assert found.tokens + sum(found.untested.values()) == 1500
        assert found.p_value > FALSE_ALARM


@pytest.mark.parametrize(
    ("unstated", "kind"),
    [
        ({"top_k": 2}, "top_k"),
        ({"top_k": 20}, "top_k"),
        ({"top_p": 0.95}, "top_"),
        ({"min_p": 0.05}, "min_p"),
        ({"temperature": 0.8}, "a temperature that is lower (about 0.8 times what is stated)"),
        ({"temperature": 1.25}, "a temperature that is higher (about 1.25 times what is stated)"),
        ({"temperature": 0.05}, ""),
    ],
    ids=str,
)
def test_what_is_not_stated_is_found_out_and_named(unstated: dict[str, Any], kind: str) -> None:
    p, seen = distributions(4000, 1), some_seen(4000, 1)
    found = tally(p, draw(cut(p.copy(), unstated), 1), seen, NEUTRAL).result()
    assert found.p_value < FALSE_ALARM
    assert kind in (found.suspicion or "")


def test_a_penalty_on_repetition_is_found_out() -> None:
    p, seen = distributions(4000, 2), some_seen(4000, 2)
    found = tally(p, draw(penalised(p, seen), 2), seen, NEUTRAL).result()
    assert "a penalty on repetition" in (found.suspicion or "")


@pytest.mark.parametrize(
    ("stated", "unstated"),
    [
        ({"temperature": 0.7}, {"temperature": 1.0}),
        ({"temperature": 1.5}, {"temperature": 1.0}),
        ({"top_p": 0.9}, {"top_k": 1}),
        ({"top_k": 10}, {"temperature": 0.7}),
    ],
    ids=str,
)
def test_other_than_what_is_stated_is_found_out(stated: dict[str, Any], unstated: dict[str, Any]) -> None:
    p, seen = distributions(4000, 3), some_seen(4000, 3)
    found = tally(p, draw(cut(p.copy(), stated | unstated), 3), seen, NEUTRAL | stated).result()
    assert found.suspicion is not None


def test_the_counts_are_those_of_the_tokens() -> None:
    p, seen = distributions(500, 4), some_seen(500, 4)
    places = draw(p, 4)
    found = tally(p, places, seen, NEUTRAL).result()
    counted = {count.cut: count for count in found.cuts}
    for k in (1, 5, 20):
        count = counted[f"top_k {k}"]
        assert count.drawn == (places >= k).sum()
        assert count.expected == pytest.approx(p[:, k:].sum(), abs=1e-6)
    assert found.entropy == pytest.approx(-(p * np.log(p)).sum(axis=1).mean(), rel=0.02)
    assert abs(found.surprise - found.entropy) < 4 * found.standard_error


def test_the_tail_is_that_of_the_poisson_binomial_where_nothing_is_drawn() -> None:
    p, seen = distributions(200, 5), some_seen(200, 5)
    found = tally(p, draw(cut(p.copy(), {"top_k": 20}), 5), seen, NEUTRAL).result()
    tail = {count.cut: count.tail for count in found.cuts}["top_k 20"]
    assert tail == pytest.approx(np.prod(p[:, :20].sum(axis=1)), rel=1e-3)


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        (NEUTRAL | {"temperature": 0.0}, "temperature 0: nothing was drawn"),
        (NEUTRAL | {"repetition_penalty": 1.2}, "drawn with repetition_penalty"),
        (NEUTRAL | {"tool_choice": "required", "logit_bias": {"3": 1}}, "drawn with tool_choice, logit_bias"),
        (None, "not on record how they were drawn"),
    ],
)
def test_what_cannot_be_tested_is_counted_with_the_reason(stated: Any, reason: str) -> None:
    p, seen = distributions(50, 6), some_seen(50, 6)
    found = tally(p, draw(p, 6), seen, stated).result()
    assert (found.tokens, found.untested, found.suspicion) == (0, {reason: 50}, None)
