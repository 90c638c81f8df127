"""Whatever an environment's code does to a record, its line is read back as that of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rollway.evaluation.outcomes import outcome_of
from rollway.trajectory import (
    ErrorRecord,
    StopReason,
    Trajectory,
    Turn,
    Usage,
    decode_trajectory,
)

KEY = ("sum-1", 2)


def begun() -> Trajectory:
    return Trajectory(id="begun", messages=[], environment="sums", task_id="sum-1", sample_index=2, seed=5)


def ended() -> Trajectory:
    record = begun()
    record.messages = [{"role": "user", "content": "1 + 1?"}]
    record.turns = [Turn(index=0, token_ids=[1, 2, 3]), Turn(index=1, usage=Usage(completion_tokens=4))]
    record.stop_reason, record.reward = StopReason.COMPLETED, 0.5
    return record


def test_the_driver_is_told_what_it_looks_at() -> None:
    record = ended()
    outcome = outcome_of(record, KEY, begun)
    assert decode_trajectory(outcome.line) == record
    assert (outcome.stop_reason, outcome.reward, outcome.failed) == (StopReason.COMPLETED, 0.5, False)
    assert outcome.completion_tokens == 7
    record.error = ErrorRecord(kind="KeyError", message="'x'", where="reward:exact")
    told = outcome_of(record, KEY, begun)
    assert (told.error, told.error_kind) == ("KeyError: 'x'", "KeyError")


def set_to(**fields: Any) -> Callable[[Trajectory], None]:
    def change(record: Trajectory) -> None:
        for name, value in fields.items():
            setattr(record, name, value)

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        set_to(group_id=5),
        set_to(metrics=None),
        set_to(task_id="sum-2"),
        set_to(sample_index=0),
        set_to(id=None),
        set_to(stop_reason="done"),
        set_to(reward="high"),
        set_to(tool_errors=["one"]),
        set_to(messages=None),
        set_to(messages=["one"]),
        set_to(sequences=None),
        set_to(sequences=["one"]),
        set_to(turns=[Turn(index=0, content=5)]),  # type: ignore[arg-type]
        set_to(turns=[Turn(index="first")]),  # type: ignore[arg-type]
        set_to(turns=None),
        set_to(turns=["one"]),
        set_to(schema_version=99),
        set_to(metadata={"when": object()}),
    ],
)
def test_a_record_that_cannot_be_stored_is_a_fault_of_the_environment(
    spoil: Callable[[Trajectory], None],
) -> None:
    record = ended()
    spoil(record)
    outcome = outcome_of(record, KEY, begun)
    stored = decode_trajectory(outcome.line)
    assert (stored.task_id, stored.sample_index) == KEY
    assert outcome.failed
    assert stored.stop_reason is outcome.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert stored.error is not None
    assert stored.error.where == "environment"
    assert outcome.reward is None


def test_the_conversation_of_such_a_record_is_kept() -> None:
    record = ended()
    record.group_id = 5  # type: ignore[assignment]
    stored = decode_trajectory(outcome_of(record, KEY, begun).line)
    assert (stored.messages, stored.turns) == (ended().messages, ended().turns)


def test_whoever_changes_a_key_is_told_to_leave_it() -> None:
    record = ended()
    record.task_id = "sum-2"
    assert "do not change task_id or sample_index of a record" in outcome_of(record, KEY, begun).error
