"""An environment's attributes are looked at before anything is made of them."""

from __future__ import annotations

import math
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
