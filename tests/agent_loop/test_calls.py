"""Each call of a turn is answered once, in order, however it ended."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from loop_bench import QUESTION, add, assert_valid, bench, complain, explode, kinds, rolled_out, told
from scripted_server import reply

from rollway.agent_loop import calls as agent_loop_calls
from rollway.limits import Limits
from rollway.tools import Tool, tool
from rollway.trajectory import StopReason, ToolErrorKind, Trajectory


async def test_calls_of_one_turn_run_at_the_same_time_and_come_back_in_order() -> None:
    barrier = threading.Barrier(2, timeout=60)

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


async def test_a_bad_call_is_recorded_though_the_rollout_ends_while_its_neighbour_runs() -> None:
    @tool
    async def wait() -> str:
        """Never return."""
        await asyncio.Event().wait()
        return "late"

    text = '<tool_call>\n{"name": "wait", "arguments": {}}\n</tool_call>\n<tool_call>\n{"name":\n</tool_call>'
    for seconds in (0.2, 2.0, 20.0):  # the shortest in which this machine gets as far as the calls
        trajectory = await rolled_out([reply(text)], wait, limits=Limits(timeout=seconds))
        if trajectory.turns:
            break
    assert trajectory.stop_reason is StopReason.TIMEOUT
    assert kinds(trajectory) == [ToolErrorKind.CANCELLED, ToolErrorKind.PARSE]
    assert trajectory.tool_errors[1].error.endswith("; the rollout ended while other calls ran")
    assert trajectory.messages[-1]["role"] == "tool"


async def test_calls_beyond_the_limit_are_answered_not_run() -> None:
    script = [reply(tool_calls=[("add", {"a": i, "b": 0}) for i in range(3)]), reply("so be it")]
    trajectory = await rolled_out(script, limits=Limits(max_tool_calls=2))
    assert told(trajectory)[:2] == ["0", "1"]
    assert kinds(trajectory) == [ToolErrorKind.NOT_ALLOWED]
    assert trajectory.stop_reason is StopReason.COMPLETED


async def cancelled_at(
    started: asyncio.Event, *tools: Tool, script: Any, order: list[str], **options: Any
) -> Trajectory:
    """A rollout that is cancelled when ``started`` is set. ``order`` is told when it has ended."""
    trajectory = Trajectory(id="t", messages=[])
    async with bench(script) as it:
        task = asyncio.create_task(it.loop(*tools, **options).run(QUESTION, trajectory=trajectory))
        await asyncio.wait_for(started.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        order.append("ended")
    assert_valid(trajectory)
    assert trajectory.stop_reason is StopReason.CANCELLED
    return trajectory


async def test_a_rollout_that_is_cancelled_has_ended_only_when_its_tools_have_cleaned_up() -> None:
    started, order = asyncio.Event(), []

    @tool
    async def hold(name: str) -> str:
        """Hold something that takes a moment to be let go of."""
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            order.append(name)
        return "late"

    script = [reply(tool_calls=[("hold", {"name": "a"}), ("add", {"a": 1, "b": 2}), ("hold", {"name": "b"})])]
    trajectory = await cancelled_at(started, hold, add, script=script, order=order)
    assert order == ["a", "b", "ended"]
    assert kinds(trajectory)[0] is kinds(trajectory)[-1] is ToolErrorKind.CANCELLED


async def test_what_stands_around_a_call_has_left_it_before_the_rollout_ends() -> None:
    started, order = asyncio.Event(), []

    async def around(call: Any, *, turn: int, context: Any, run: Any) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            order.append(call.name)
            raise RuntimeError("its own cleaning up failed")

    script = [reply(tool_calls=[("add", {"a": 1, "b": 2})])]
    trajectory = await cancelled_at(started, add, script=script, order=order, execute=around)
    assert order == ["add", "ended"]
    assert kinds(trajectory) == [ToolErrorKind.CANCELLED]


async def test_a_hung_tool_does_not_hold_up_the_end_of_a_cancelled_rollout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_loop_calls, "UNWIND_SECONDS", 0.05)
    started, release, order = asyncio.Event(), asyncio.Event(), []

    @tool
    async def cling() -> str:
        """Take no notice of being cancelled."""
        while not release.is_set():
            try:
                started.set()
                await release.wait()
            except asyncio.CancelledError:
                continue
        order.append("let go")
        return "late"

    script = [reply(tool_calls=[("cling", {})])]
    try:
        trajectory = await cancelled_at(started, cling, script=script, order=order)
    finally:
        release.set()
    assert order == ["ended"]
    assert kinds(trajectory) == [ToolErrorKind.CANCELLED]


async def test_a_call_that_was_cancelled_by_somebody_else_is_answered_and_the_rollout_goes_on() -> None:
    async def around(call: Any, *, turn: int, context: Any, run: Any) -> Any:
        raise asyncio.CancelledError

    script = [reply(tool_calls=[("add", {"a": 1, "b": 2})]), reply("so be it")]
    trajectory = await rolled_out(script, execute=around)
    assert kinds(trajectory) == [ToolErrorKind.CANCELLED]
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_an_executor_that_raises_still_leaves_every_call_answered() -> None:
    async def around(call: Any, *, turn: int, context: Any, run: Any) -> Any:
        if call.arguments == '{"a":1,"b":2}':
            raise RuntimeError("a fault of the executor's")
        return await run()

    trajectory = Trajectory(id="t", messages=[])
    script = [reply(tool_calls=[("add", '{"a":1,"b":2}'), ("add", '{"a":2,"b":2}')])]
    async with bench(script) as it:
        with pytest.raises(RuntimeError, match="a fault of the executor's"):
            await it.loop(execute=around).run(QUESTION, trajectory=trajectory)
    assert_valid(trajectory)
    assert told(trajectory)[1] == "4"
