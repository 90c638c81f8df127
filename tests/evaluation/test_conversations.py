"""A conversation is shown, whatever stands in its messages: an environment's prompt may hold anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.evaluation.conversations import conversation, plain_text
from rollway.evaluation.samples import Sample, Why
from rollway.trajectory import StopReason, Trajectory

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["role", "name", "content", "reasoning_content", "tool_calls", "tool_call_id"]
CALL = st.fixed_dictionaries({}, optional={"id": JSON, "type": JSON, "function": JSON})


def shown(message: dict[str, Any]) -> str:
    trajectory = Trajectory(id="t", messages=[message], stop_reason=StopReason.MODEL_ERROR)
    return plain_text(conversation(Sample(Why.FAILED, trajectory)))


@given(
    st.fixed_dictionaries({}, optional={**dict.fromkeys(FIELDS, JSON), "tool_calls": JSON | st.lists(CALL)})
)
def test_any_message_is_shown(message: dict[str, Any]) -> None:
    shown(message)


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        ([{"function": {"name": "add", "arguments": '{"a": 1}'}}], 'add({"a": 1})'),
        ([{"function": {"name": "add", "arguments": {"a": 1}}}], 'add({"a": 1})'),
        (["add"], '"add"'),
        ([{"function": "add"}], '{"function": "add"}'),
        ({"name": "add"}, '{"name": "add"}'),
    ],
)
def test_calls_that_are_none_are_shown_as_they_stand(calls: Any, told: str) -> None:
    assert shown({"role": "assistant", "tool_calls": calls}) == f"[assistant]\n{told}"
