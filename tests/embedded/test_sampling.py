"""Tokens are drawn by each row's own settings and stream; logprobs are the model's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.embedded.sampling import SamplerState, SamplingParams, generators, score

VOCABULARY = 12
LOGITS = np.random.default_rng(1).normal(0, 2, VOCABULARY).astype(np.float32)


def params(**changes: Any) -> SamplingParams:
    return SamplingParams(max_tokens=10, **({"seed": 0} | changes))


def draw(settings: SamplingParams, count: int, logits: Any = LOGITS) -> np.ndarray:
    """``count`` tokens of one row."""
    state = SamplerState(1)
    state.set(0, settings, generators(settings)[0])
    rows, slots = logits[None], np.array([0])
    return np.array([state.sample(rows, slots, forbidden=None)[0] for _ in range(count)])


def softmax(logits: Any) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def shares(tokens: np.ndarray) -> np.ndarray:
    return np.bincount(tokens, minlength=VOCABULARY) / len(tokens)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability_says(temperature: float) -> None:
    found = shares(draw(params(temperature=temperature), 20_000))
    np.testing.assert_allclose(found, softmax(LOGITS / temperature), atol=0.02)


def test_temperature_zero_takes_the_likeliest_token() -> None:
    assert set(draw(params(temperature=0.0), 20)) == {LOGITS.argmax()}


def test_top_k_keeps_the_k_likeliest_and_their_proportions() -> None:
    found = shares(draw(params(top_k=3), 20_000))
    kept = np.argsort(-LOGITS)[:3]
    expected = np.zeros(VOCABULARY)
    expected[kept] = softmax(LOGITS)[kept] / softmax(LOGITS)[kept].sum()
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("top_p", [0.001, 0.5, 0.9])
def test_top_p_keeps_the_fewest_tokens_that_reach_it(top_p: float) -> None:
    order = np.argsort(-LOGITS)
    reached = np.cumsum(softmax(LOGITS)[order])
    kept = order[: int(np.searchsorted(reached, top_p)) + 1]
    assert set(draw(params(top_p=top_p), 5_000)) == set(kept)


def test_min_p_drops_what_is_far_less_likely_than_the_likeliest() -> None:
    probabilities = softmax(LOGITS)
    kept = np.flatnonzero(probabilities >= 0.3 * probabilities.max())
    assert set(draw(params(min_p=0.3), 5_000)) == set(kept)


def test_a_forbidden_token_is_never_drawn() -> None:
    state = SamplerState(1)
    state.set(0, params(), generators(params())[0])
    forbidden = np.zeros((1, VOCABULARY), bool)
    forbidden[0, LOGITS.argmax()] = True
    drawn = {int(state.sample(LOGITS[None], np.array([0]), forbidden=forbidden)[0]) for _ in range(500)}
    assert LOGITS.argmax() not in drawn
    assert len(drawn) > 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**63 - 1))
def test_a_row_draws_the_same_whoever_shares_its_batch(others: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed % 1000)
    state = SamplerState(8)
    mine = params(seed=seed, temperature=0.9, top_k=7)
    state.set(3, mine, generators(mine)[0])
    kinds = [{}, {"temperature": 0.0}, {"top_p": 0.4}, {"top_k": 2}, {"min_p": 0.2}, {"temperature": 2.0}]
    slots = [3]
    for slot, kind in zip([0, 1, 2, 4, 5, 6], others, strict=False):
        other = params(seed=slot, **kinds[kind])
        state.set(slot, other, generators(other)[0])
        slots.append(slot)
    drawn = []
    for _ in range(70):  # more than one fill of the buffer of random numbers
        logits = np.vstack([LOGITS, rng.normal(0, 2, (len(slots) - 1, VOCABULARY)).astype(np.float32)])
        drawn.append(int(state.sample(logits, np.array(slots), forbidden=None)[0]))
    assert drawn == draw(mine, 70).tolist()


def test_a_row_that_moves_to_another_slot_keeps_its_stream() -> None:
    state = SamplerState(2)
    state.set(1, params(), generators(params())[0])
    drawn = [int(state.sample(LOGITS[None], np.array([1]), forbidden=None)[0]) for _ in range(40)]
    state.move(1, 0)
    drawn += [int(state.sample(LOGITS[None], np.array([0]), forbidden=None)[0]) for _ in range(40)]
    assert drawn == draw(params(), 80).tolist()


def test_samples_of_one_seed_differ_and_come_again() -> None:
    first, second = (generator.random(4).tolist() for generator in generators(params(n=2)))
    assert first != second
    assert [first, second] == [generator.random(4).tolist() for generator in generators(params(n=2))]
    unseeded = [generators(params(seed=None))[0].random() for _ in range(2)]
    assert unseeded[0] != unseeded[1]
    assert generators(params(seed=-5))[0].random() == generators(params(seed=-5))[0].random()


def test_logprobs_are_those_of_the_unmodified_distribution() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, VOCABULARY)).astype(np.float32)
    tokens = np.array([0, 3, 11, 5, 5])
    scored = score(logits, tokens, top=4)
    for row, token in enumerate(tokens):
        expected = np.log(softmax(logits[row]))
        assert scored.logprobs[row] == pytest.approx(expected[token], abs=1e-5)
        assert scored.ranks[row] == 1 + (expected > expected[token]).sum()
        assert scored.top_tokens is not None
        assert scored.top_logprobs is not None
        np.testing.assert_array_equal(scored.top_tokens[row], np.argsort(-expected)[:4])
        np.testing.assert_allclose(scored.top_logprobs[row], np.sort(expected)[::-1][:4], atol=1e-5)
    assert score(logits, tokens, top=0).top_tokens is None
