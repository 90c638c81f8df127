"""What an environment's code writes into a record is read back, or left out and told of."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.evaluation.record_numbers import settle_numbers
from rollway.evaluation.run_directory import is_failed
from rollway.trajectory import StopReason, Trajectory, decode_trajectory, encode_trajectory

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.binary()
)


def settled(**fields: Any) -> Trajectory:
    record = Trajectory(id="t", messages=[], stop_reason=StopReason.COMPLETED, **fields)
    settle_numbers(record)
    return record


@given(
    metrics=st.dictionaries(st.text(), ANYTHING, max_size=4),
    rewards=st.dictionaries(st.text(), ANYTHING, max_size=4),
    reward=ANYTHING,
)
def test_whatever_was_written_is_read_back(
    metrics: dict[str, Any], rewards: dict[str, Any], reward: Any
) -> None:
    record = settled(metrics=metrics, rewards=rewards, reward=reward)
    assert decode_trajectory(encode_trajectory(record)) == record


def test_numbers_stay_what_they_are_and_become_floats() -> None:
    record = settled(
        metrics={"a": 1, "b": True, "c": numpy.float32(0.5)}, rewards={"r": numpy.float64(2.0)}, reward=0.25
    )
    assert record.metrics == {"a": 1.0, "b": 1.0, "c": 0.5}
    assert (record.rewards, record.reward, record.error, record.metadata) == ({"r": 2.0}, 0.25, None, {})
    assert {type(value) for value in (*record.metrics.values(), *record.rewards.values())} == {float}


@pytest.mark.parametrize("value", ["5", None, math.nan, math.inf, 10**400])
def test_a_metric_that_is_no_number_costs_no_score_and_is_told_of(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    record = settled(metrics={"steps": value, "other": 1.0}, rewards={"r": 1.0}, reward=1.0)
    assert (record.metrics, record.reward, record.error) == ({"other": 1.0}, 1.0, None)
    assert record.metadata["metrics_error"].startswith("left out as not finite: steps=")
    assert "steps=" in caplog.text


@pytest.mark.parametrize("fields", [{"reward": "1"}, {"reward": 1.0, "rewards": {"r": math.nan}}])
def test_a_reward_that_is_no_number_leaves_the_rollout_unscored(fields: dict[str, Any]) -> None:
    record = settled(**fields)
    assert record.reward is None
    assert record.error is not None
    assert record.error.message.startswith("not finite: r")
    assert is_failed(record)
