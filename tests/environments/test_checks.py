"""An environment's attributes are looked at before anything is made of them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest

from rollway import Environment
from rollway.environments.base import Reward
from rollway.environments.checks import check_environment
from rollway.errors import UserError


def right(trajectory: Any, task: Any) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("attribute", "value", "complaint"),
    [
        ("name", 3, "its name is 3; it must be a text"),
        ("pass_threshold", "0.5", "its pass_threshold is '0.5'; it must be a number"),
        ("pass_threshold", None, "its pass_threshold is None; it must be a number"),
        ("pass_threshold", math.nan, "its pass_threshold is nan; it must be a number"),
        ("rewards", [Reward(right, weight="2")], "it must hold Reward(function, weight=a number"),
        ("rewards", [Reward(right, name=7)], "it must hold Reward(function, weight=a number"),
        ("rewards", ["right"], "it must hold functions"),
        ("tools", [right], "decorate the functions with @tool"),
        ("toolsets", [], "its toolsets is []; it must be a dict"),
        ("tools", iter([]), "its tools is <list_iterator"),
        ("toolsets", {"mine": iter([])}, "its toolsets['mine'] is <list_iterator"),
        ("rewards", map(right, []), "its rewards is <map object"),
    ],
)
def test_an_attribute_that_is_not_what_it_should_be_is_told_in_one_line(
    attribute: str, value: Any, complaint: str
) -> None:
    environment = Environment()
    setattr(environment, attribute, value)
    with pytest.raises(UserError) as error:
        check_environment(environment)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("hook", ["tasks", "prompt", "sandbox_for", "limits_for", "tools_for", "done"])
def test_a_hook_that_is_async_and_not_awaited_is_told_in_one_line(hook: str) -> None:
    """A coroutine is true: `done` would end every rollout after its first turn."""

    async def answer(*arguments: Any) -> Any: ...

    environment = Environment()
    setattr(environment, hook, answer)
    with pytest.raises(UserError, match=rf"{hook} must not be async; write def {hook}\("):
        check_environment(environment)


class Sums(Environment):
    rewards = (right,)

    def tasks(self, split: str) -> Any:
        return [{"task_id": "1"}]

    def prompt(self, task: Any) -> Any:
        return [{"role": "user", "content": "1 + 1?"}]


def complaint_about(environment: Environment) -> str:
    with pytest.raises(UserError) as error:
        check_environment(environment)
    assert "\n" not in str(error.value)
    return str(error.value)


def without_task(self: Any) -> Any: ...


def without_self(task: Any) -> Any: ...


def with_everything(self: Any, *arguments: Any, **more: Any) -> Any: ...


@pytest.mark.parametrize(
    ("hook", "function", "told"),
    [
        ("prompt", without_task, "prompt takes () and is called with (task); write def prompt(self, task)"),
        ("prompt", without_self, "prompt takes () and is called with (task); write def prompt(self, task)"),
        ("tasks", without_task, "write def tasks(self, split)"),
        ("done", without_self, "write def done(self, task, workspace, trajectory)"),
        ("teardown", without_task, "write async def teardown(self, task, workspace, trajectory)"),
    ],
)
def test_a_hook_that_cannot_be_called_as_it_is_called_is_told_of(hook: str, function: Any, told: str) -> None:
    made = type("Wrong", (Sums,), {hook: function})()
    assert told in complaint_about(made)


def plain_hook(name: str) -> Any:
    def plain(self: Any, *arguments: Any) -> Any: ...

    plain.__name__ = name
    return type("Plain", (Sums,), {name: plain})()


def test_a_hook_that_must_be_async_is_told_so() -> None:
    told = complaint_about(plain_hook("prepare_sandbox"))
    assert "prepare_sandbox must be async; write async def prepare_sandbox(self, " in told


@pytest.mark.parametrize("hook", ["setup", "teardown"])
def test_a_hook_that_may_block_need_not_be_async(hook: str) -> None:
    check_environment(plain_hook(hook))


def test_a_hook_that_takes_anything_is_let_through() -> None:
    check_environment(type("Loose", (Sums,), {"prompt": with_everything, "done": with_everything})())


class Method(Sums):
    async def reward(self, trajectory: Any, task: Any) -> float:
        return 1.0

    rewards = (reward,)


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        (lambda completion, answer: 1.0, "takes (completion, answer); a reward is called with"),
        (lambda completions, **columns: 1.0, "takes (completions, **columns); a reward is called with"),
        (lambda trajectory: 1.0, "takes (trajectory); a reward is called with (trajectory, task)"),
        (lambda trajectory, task, workspace: 1.0, "takes (trajectory, task, workspace); a reward is called"),
        (lambda trajectory, task, *, workspace: 1.0, "takes (trajectory, task, workspace); a reward is"),
        (lambda: 1.0, "takes (); a reward is called with"),
    ],
)
def test_a_reward_that_cannot_be_called_as_it_is_called_is_told_of(reward: Any, told: str) -> None:
    made = Sums()
    made.rewards = [Reward(reward, name="odd")]
    assert f"its reward 'odd' {told}" in complaint_about(made)


def test_a_method_that_is_listed_as_a_function_is_told_of() -> None:
    told = complaint_about(Method())
    assert "its reward 'reward' is a method that was listed as a function" in told
    assert "return [self.reward]" in told


def test_rewards_that_can_be_called_are_let_through() -> None:
    class Bound(Sums):
        def right(self, trajectory: Any, task: Any) -> float:
            return 1.0

        @property
        def rewards(self) -> Any:
            return [self.right, Reward(numbers, name="other"), partial(numbers), max, with_sandbox]

        def named(trajectory: Any, task: Any) -> float:  # noqa: N805 (a function of the class body)
            return 1.0

    def numbers(*arguments: Any) -> float:
        return 1.0

    def with_sandbox(trajectory: Any, task: Any, sandbox: Any) -> float:
        return 1.0

    check_environment(Bound())
    made = Sums()
    made.rewards = [vars(Bound)["named"]]
    check_environment(made)


def test_two_rewards_of_one_name_are_told_of() -> None:
    made = Sums()
    made.rewards = [lambda trajectory, task: 1, lambda trajectory, task: 2]
    assert "two rewards named '<lambda>'" in complaint_about(made)


@pytest.mark.parametrize("weights", [{}, {"a": "1"}, {1: 1.0}, {"a": math.nan}, ["a"]])
def test_weights_that_are_no_numbers_by_name_are_told_of(weights: Any) -> None:
    made = Sums()
    made.rewards = [Reward(right, weights=weights)]
    assert "Reward(function, weights=a dict from names to numbers)" in complaint_about(made)


def test_a_property_that_raises_is_told_in_one_line() -> None:
    class Broken(Environment):
        @property
        def tools(self) -> Any:
            raise KeyError("index")

    with pytest.raises(UserError, match="environment 'Broken': its tools raised KeyError: 'index'"):
        check_environment(Broken())


def test_what_is_as_it_should_be_is_let_through() -> None:
    environment = Environment()
    environment.rewards = [right, Reward(right, weight=2, name="other")]
    environment.pass_threshold = 1
    check_environment(environment)
