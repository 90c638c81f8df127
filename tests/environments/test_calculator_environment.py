"""What an answer is worth in the calculator environment."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.environments.base import Environment, named_rewards
from rollway.environments.calculator import CalculatorEnvironment
from rollway.environments.calculator.environment import read_answer
from rollway.trajectory import StopReason, ToolCall, ToolError, ToolErrorKind, Trajectory, Turn

TASK = {"task_id": "test-x", "question": "What is (2 + 3) * 4?", "answer": 20, "operations": 2}


def rollout(text: str, *, calls: int = 2, stop: StopReason = StopReason.COMPLETED, failed: bool = False):
    turns = [Turn(index=i, tool_calls=[ToolCall(f"c{i}", "add", '{"a": 2, "b": 3}')]) for i in range(calls)]
    error = ToolError(1, "plus", "{}", ToolErrorKind.UNKNOWN_TOOL, "no such tool", "no such tool")
    return Trajectory(
        id="t",
        messages=[{"role": "user", "content": TASK["question"]}, {"role": "assistant", "content": text}],
        turns=[*turns, Turn(index=calls, content=text)],
        stop_reason=stop,
        tool_errors=[error] if failed else [],
    )


def values(trajectory: Trajectory, environment: Environment | None = None) -> dict[str, float]:
    rewards = named_rewards(environment or CalculatorEnvironment())
    return {reward.name: reward.function(trajectory, TASK) for reward in rewards}


def total(trajectory: Trajectory, environment: Environment) -> float:
    return sum(r.weight * r.function(trajectory, TASK) for r in named_rewards(environment))


def test_a_right_answer_in_form_with_no_call_too_many_earns_everything():
    assert values(rollout("The answer is 20.")) == {"correct": 1.0, "form": 1.0, "economy": 1.0}


def test_a_wrong_answer_earns_no_economy_however_few_the_calls():
    assert values(rollout("The answer is 21.", calls=0)) == {"correct": 0.0, "form": 1.0, "economy": 0.0}


def test_a_call_too_many_costs_economy_alone():
    assert values(rollout("The answer is 20.", calls=3)) == {"correct": 1.0, "form": 1.0, "economy": 0.0}


def test_a_failed_call_costs_form_and_not_the_answer():
    assert values(rollout("The answer is 20.", failed=True)) == {"correct": 1.0, "form": 0.0, "economy": 1.0}


@pytest.mark.parametrize(
    "text", ["It is 20", "20", "(2 + 3) * 4 = **20**", "\\(20.0\\)", "2 + 3 is 5, times 4: 20!"]
)
def test_any_wording_of_the_right_answer_counts_but_is_not_in_form(text):
    assert values(rollout(text)) == {"correct": 1.0, "form": 0.0, "economy": 1.0}


@pytest.mark.parametrize("stop", [s for s in StopReason if s is not StopReason.COMPLETED])
def test_a_rollout_that_did_not_end_by_answering_earns_nothing(stop):
    assert values(rollout("The answer is 20.", stop=stop)) == {"correct": 0.0, "form": 0.0, "economy": 0.0}


def test_a_thought_left_in_the_text_is_no_answer():
    assert values(rollout("<think>20</think>I do not know."))["correct"] == 0.0
    assert values(rollout("<think>5</think>The answer is 20."))["form"] == 1.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1,234,567 coins", "1234567"),
        ("from 12-5 to -7.", "-7"),
        ("12-5", "5"),
        ("\u2212340", "-340"),
        ("-0.50", "-0.50"),
        ("12, 5", "5"),
    ],
)
def test_numbers_are_read_as_people_write_them(text, answer):
    assert read_answer(text) == Decimal(answer)


@pytest.mark.parametrize("text", ["", "none", "x2", "-"])
def test_a_text_without_a_number_has_no_answer(text):
    assert read_answer(text) is None


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_the_last_number_of_a_text_is_the_answer(first, last):
    assert read_answer(f"First {first}, and so it is {last:,}.") == last


@given(
    text=st.sampled_from(["The answer is 20.", "20", "The answer is 19.", "no idea"]),
    calls=st.integers(0, 4),
    failed=st.booleans(),
    weights=st.sampled_from([(0.0, 0.0), (0.1, 0.1), (0.5, 0.4)]),
)
def test_the_threshold_is_reached_by_right_answers_alone(text, calls, failed, weights):
    environment = CalculatorEnvironment(form_weight=weights[0], economy_weight=weights[1])
    trajectory = rollout(text, calls=calls, failed=failed)
    passed = total(trajectory, environment) >= environment.pass_threshold
    assert passed == (values(trajectory)["correct"] == 1.0)


def test_by_default_the_reward_is_the_right_answer_alone():
    trajectory = rollout("20", calls=9, failed=True)
    assert total(trajectory, CalculatorEnvironment()) == 1.0


@pytest.mark.parametrize("weights", [(0.5, 0.5), (-0.1, 0.0)])
def test_weights_that_would_blur_the_threshold_are_refused(weights):
    with pytest.raises(ValueError, match="form_weight"):
        CalculatorEnvironment(form_weight=weights[0], economy_weight=weights[1])


def test_the_tools_compute():
    add, subtract, multiply = CalculatorEnvironment.tools
    assert (add(2, 3), subtract(2, 3), multiply(2, 3)) == (5, -1, 6)
    assert [t.definition()["function"]["name"] for t in (add, subtract, multiply)] == [
        "add",
        "subtract",
        "multiply",
    ]


def test_an_unknown_split_is_a_value_error_that_names_the_splits():
    with pytest.raises(ValueError, match=r"'dev'.*'train' and 'test'"):
        CalculatorEnvironment().tasks("dev")


def test_the_prompt_is_the_question():
    assert CalculatorEnvironment().prompt(TASK) == [{"role": "user", "content": TASK["question"]}]
