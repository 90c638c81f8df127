"""What an environment's code writes into a record is read back, or left out and told of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.evaluation.record_numbers import settle_numbers
from rollway.evaluation.run_directory import is_failed
from rollway.trajectory import ErrorRecord, StopReason, Trajectory, decode_trajectory, encode_trajectory

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


def test_metadata_becomes_plain_values() -> None:
    record = settled(metadata={"score": numpy.float32(0.5), "counts": numpy.arange(2), "at": Path("/x")})
    assert record.metadata == {"score": 0.5, "counts": [0, 1], "at": "/x"}


def test_one_value_that_cannot_be_stored_costs_itself_and_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = settled(reward=1.0, metadata={"detail": {"judge": object(), "said": "yes"}, "loss": math.nan})
    assert record.metadata.pop("values_error") == (
        "not stored as it is: metadata['detail']['judge']: object cannot be converted to JSON; "
        "metadata['loss']: nan is no number of JSON"
    )
    assert record.metadata == {"detail": {"said": "yes"}, "loss": None}
    assert (record.reward, record.error) == (1.0, None)
    assert "metadata['detail']['judge']" in caplog.text


@given(metadata=st.dictionaries(st.text(st.characters()), ANYTHING, max_size=4) | ANYTHING)
def test_no_metadata_keeps_a_record_from_being_read_back(metadata: Any) -> None:
    record = settled(metadata=metadata)
    assert decode_trajectory(encode_trajectory(record)) == record


@pytest.mark.parametrize("fields", [{"metrics": None}, {"rewards": [1.0]}])
def test_numbers_that_are_no_dict_are_told_of(fields: dict[str, Any]) -> None:
    record = settled(reward=1.0, **fields)
    assert decode_trajectory(encode_trajectory(record)) == record
    assert ("metrics_error" in record.metadata) == ("metrics" in fields)
    assert (record.reward is None) == ("rewards" in fields)


def test_the_message_of_an_error_is_valid_text() -> None:
    record = settled(error=ErrorRecord(kind="ValueError", message="half \ud800", where="reward:r"))
    assert record.error == ErrorRecord(kind="ValueError", message="half ?", where="reward:r")
