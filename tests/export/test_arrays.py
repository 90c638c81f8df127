"""Sequences become arrays without a token lost, moved or made up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from rollway.export import UNKNOWN, sequence_arrays, trajectory_arrays, truncate
from rollway.trajectory import TokenSequence, Trajectory


def sequence(**changes) -> TokenSequence:
    fields = {
        "token_ids": [5, 6, 7, 8],
        "loss_mask": [0, 1, 0, 1],
        "turn_index": [0, 0, 1, 1],
        "logprobs": [0.0, -0.5, 0.0, -0.25],
        "weight_versions": ["a", "a", None, "b"],
    }
    return TokenSequence(**(fields | changes))


def test_a_sequence_becomes_arrays_of_one_length() -> None:
    arrays = sequence_arrays(sequence(), advantage=-2.0)
    assert len(arrays) == 4
    assert_array_equal(arrays.token_ids, [5, 6, 7, 8])
    assert_array_equal(arrays.loss_mask, [False, True, False, True])
    assert_array_equal(arrays.logprobs, np.float32([0, -0.5, 0, -0.25]))
    assert_array_equal(arrays.advantages, np.float32([0, -2, 0, -2]))
    assert_array_equal(arrays.turn_index, [0, 0, 1, 1])
    assert arrays.versions == ("a", "b")
    assert_array_equal(arrays.version_codes, [0, 0, UNKNOWN, 1])


@pytest.mark.parametrize("field", ["loss_mask", "turn_index", "logprobs", "weight_versions"])
def test_lists_of_different_lengths_are_an_error_that_names_the_list(field: str) -> None:
    values = getattr(sequence(), field)
    with pytest.raises(ValueError, match=f"4 token ids, but 3 entries in {field}"):
        sequence_arrays(sequence(**{field: values[:3]}), advantage=1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss_mask": [0, 1, 2, 1]}, "0 and 1 only"),
        ({"loss_mask": [1, 1, 0, 1]}, "but has no context"),
        ({"logprobs": [0.0, math.nan, 0.0, -0.25]}, "not finite"),
        ({"logprobs": [0.0, -math.inf, 0.0, -0.25]}, "not finite"),
    ],
)
def test_a_sequence_that_cannot_be_trained_on_is_an_error(changes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sequence_arrays(sequence(**changes), advantage=1.0)


def test_missing_logprobs_are_an_error_or_nan_but_never_a_number() -> None:
    with pytest.raises(ValueError, match="no logprobs"):
        sequence_arrays(sequence(logprobs=None), advantage=1.0)
    arrays = sequence_arrays(sequence(logprobs=None), advantage=1.0, missing_logprobs="nan")
    assert_array_equal(arrays.logprobs, np.float32([0, np.nan, 0, np.nan]))


def test_a_trajectory_without_an_advantage_is_an_error_that_names_it() -> None:
    trajectory = Trajectory(id="t7", messages=[], sequences=[sequence(), sequence()])
    with pytest.raises(ValueError, match="'t7' has no advantage"):
        trajectory_arrays(trajectory)
    trajectory.advantage = 0.5
    first, second = trajectory_arrays(trajectory)
    assert first.advantages[1] == second.advantages[3] == np.float32(0.5)
    trajectory.sequences[1].logprobs = None
    with pytest.raises(ValueError, match="trajectory 't7': a sequence has no logprobs"):
        trajectory_arrays(trajectory)


@given(st.lists(st.integers(1, 9), max_size=5), st.integers(1, 9))
def test_truncation_keeps_the_beginnings_and_counts_what_it_cuts(sizes: list[int], length: int) -> None:
    whole = [
        sequence_arrays(
            TokenSequence(
                token_ids=list(range(size)),
                loss_mask=[0, *[1] * (size - 1)],
                turn_index=[0] * size,
                logprobs=[0.0, *[-1.0] * (size - 1)],
            ),
            advantage=1.0,
        )
        for size in sizes
    ]
    cut, told = truncate(whole, length)
    for before, after in zip(whole, cut, strict=True):
        assert_array_equal(after.token_ids, before.token_ids[:length])
        assert_array_equal(after.loss_mask, before.loss_mask[:length])
    assert told.sequences == sum(size > length for size in sizes)
    assert told.tokens == sum(map(len, whole)) - sum(map(len, cut))
    assert told.sampled_tokens == sum(
        int(a.loss_mask.sum()) - int(b.loss_mask.sum()) for a, b in zip(whole, cut, strict=True)
    )


def test_a_length_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        truncate([], 0)
