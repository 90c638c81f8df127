"""The calculator environment: questions, three tools, and what an answer is worth.

With the default weights the reward is 1.0 when the answer is right and 0.0 when it is not, so the mean
reward is the success rate; form and economy are measured beside it, with weight 0.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from rollway.environments.base import Environment, Reward, Task
from rollway.environments.calculator.tasks import make_tasks
from rollway.tools import tool
from rollway.trajectory import Message, Trajectory

ANSWER_FORM = "The answer is {}."
"""The form of the last message that `answered_in_form` looks for."""

_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")


@tool
def add(a: int, b: int) -> int:
    """Add two integers.

    Args:
        a: The first summand.
        b: The second summand.
    """
    return a + b


@tool
def subtract(a: int, b: int) -> int:
    """Subtract one integer from another.

    Args:
        a: The number to subtract from.
        b: The number to subtract.
    """
    return a - b


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two integers.

    Args:
        a: The first factor.
        b: The second factor.
    """
    return a * b


def last_message(trajectory: Trajectory) -> str:
    """The model's answer without its thought; ``""`` when it gave none."""
    return (trajectory.answer or "").rpartition("</think>")[2].strip()


def read_answer(text: str) -> Decimal | None:
    """The last number in a text, thousands separators allowed; ``None`` when there is none."""
    numbers = _NUMBER.findall(text)
    return Decimal(numbers[-1].replace(",", "").replace("\u2212", "-")) if numbers else None


def correct(trajectory: Trajectory, task: Task) -> float:
    """1.0 when the last number of the closing message is the answer."""
    return float(read_answer(last_message(trajectory)) == task["answer"])


def answered_in_form(trajectory: Trajectory, task: Task) -> float:
    """1.0 when the closing message reads ``The answer is N.`` and no tool call failed."""
    number = read_answer(last_message(trajectory))
    in_form = number is not None and last_message(trajectory) == ANSWER_FORM.format(number)
    return float(in_form and not trajectory.tool_errors)


def economical(trajectory: Trajectory, task: Task) -> float:
    """1.0 when the answer is right and took no more calls than there are operations."""
    calls = sum(len(turn.tool_calls) for turn in trajectory.turns)
    return float(correct(trajectory, task) == 1.0 and calls <= task["operations"])


class CalculatorEnvironment(Environment):
    """Arithmetic with one to three operations, to be done by calling tools.

    A weight above 0 makes form or economy part of the reward. The two sum to less than 1, so a reward of
    at least 1.0 always means a right answer, and only that.

    Raises:
        ValueError: a weight is negative, or the two are not less than 1 together.
    """

    name = "calculator"
    tools = (add, subtract, multiply)
    pass_threshold = 1.0

    def __init__(self, *, form_weight: float = 0.0, economy_weight: float = 0.0) -> None:
        if form_weight < 0 or economy_weight < 0 or form_weight + economy_weight >= 1:
            raise ValueError(
                f"form_weight and economy_weight must not be negative and must sum to less than 1, "
                f"got {form_weight} and {economy_weight}"
            )
        self.rewards = (
            Reward(correct),
            Reward(answered_in_form, weight=form_weight, name="form"),
            Reward(economical, weight=economy_weight, name="economy"),
        )

    def tasks(self, split: str) -> list[dict[str, Any]]:
        """2,048 tasks for ``"train"`` or ``"test"``; see `make_tasks` for their fields.

        Raises:
            ValueError: there is no such split.
        """
        return make_tasks(split)

    def prompt(self, task: Task) -> list[Message]:
        """The question alone."""
        return [{"role": "user", "content": task["question"]}]
