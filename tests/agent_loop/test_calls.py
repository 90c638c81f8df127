"""Each call of a turn is answered once, in order, however it ended."""

from __future__ import annotations

import threading

import pytest
from loop_bench import add, complain, explode, kinds, rolled_out, told
from scripted_server import reply

from rollway.limits import Limits
from rollway.tools import tool
from rollway.trajectory import StopReason, ToolErrorKind


async def test_calls_of_one_turn_run_at_the_same_time_and_come_back_in_order() -> None:
    barrier = threading.Barrier(2, timeout=10)

    @tool
    def meet(name: str) -> str:
        """Wait for the other call."""
        barrier.wait()
        return name

    trajectory = await rolled_out(
        [reply(tool_calls=[("meet", {"name": "first"}), ("meet", {"name": "second"})]), reply("done")], meet
    )
    assert told(trajectory) == ["first", "second"]


@pytest.mark.parametrize("arguments", ["[1]", "null", '"x"', "NaN", "{bad", "3"])
async def test_arguments_that_are_no_object_are_answered_and_recorded(arguments: str) -> None:
    trajectory = await rolled_out([reply(tool_calls=[("add", arguments)]), reply("sorry")])
    assert kinds(trajectory) == [ToolErrorKind.INVALID_ARGUMENTS]
    assert trajectory.tool_errors[0].arguments == arguments
    assert trajectory.turns[0].tool_calls[0].arguments == arguments
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_an_unknown_tool_is_answered_with_the_names_that_exist() -> None:
    trajectory = await rolled_out([reply(tool_calls=[("ad", {"a": 1, "b": 2})]), reply("3")])
    assert kinds(trajectory) == [ToolErrorKind.UNKNOWN_TOOL]
    assert "add" in told(trajectory)[0]


async def test_one_tool_that_raises_leaves_its_siblings_results() -> None:
    script = [reply(tool_calls=[("explode", {}), ("add", {"a": 1, "b": 2}), ("complain", {})]), reply("3")]
    trajectory = await rolled_out(script, explode, add, complain)
    assert kinds(trajectory) == [ToolErrorKind.EXCEPTION, ToolErrorKind.TOOL_REPORTED]
    assert [error.turn for error in trajectory.tool_errors] == [1, 1]
    answers = told(trajectory)
    assert "boom" in answers[0]
    assert answers[1] == "3"
    assert "the database is locked" in answers[2]


async def test_a_hung_tool_is_answered_at_its_deadline() -> None:
    release = threading.Event()

    @tool
    def hang_for_ever() -> str:
        """Never return."""
        release.wait(60)
        return "late"

    try:
        trajectory = await rolled_out(
            [reply(tool_calls=[("hang_for_ever", {})]), reply("gave up")],
            hang_for_ever,
            limits=Limits(tool_timeout=0.05),
        )
    finally:
        release.set()
    assert kinds(trajectory) == [ToolErrorKind.TIMEOUT]
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_calls_beyond_the_limit_are_answered_not_run() -> None:
    script = [reply(tool_calls=[("add", {"a": i, "b": 0}) for i in range(3)]), reply("so be it")]
    trajectory = await rolled_out(script, limits=Limits(max_tool_calls=2))
    assert told(trajectory)[:2] == ["0", "1"]
    assert kinds(trajectory) == [ToolErrorKind.NOT_ALLOWED]
    assert trajectory.stop_reason is StopReason.COMPLETED
