"""Going on with a record: what it holds counts and stays, what it says of itself is true of the whole."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from loop_bench import QUESTION, add, bench
from scripted_server import error, hang, reply

from rollway.branching import branch
from rollway.errors import UserError
from rollway.inference.protocol import Sampling
from rollway.limits import Limits
from rollway.tools import Notes, RolloutContext, tool
from rollway.tools.builtin.todo import todo_tool
from rollway.trajectory import (
    ErrorRecord,
    StopReason,
    Trajectory,
    decode_trajectory,
    encode_trajectory,
)

MORE = {"role": "user", "content": "And now?"}
CALL = reply(tool_calls=[("add", {"a": 2, "b": 3})])


def stored(trajectory: Trajectory) -> Trajectory:
    """As another process reads it."""
    return decode_trajectory(encode_trajectory(trajectory))


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (reply("5"), StopReason.COMPLETED),
        (reply(""), StopReason.EMPTY_RESPONSE),
        (reply("5 and", finish_reason="length"), StopReason.TRUNCATED),
    ],
)
async def test_a_finished_record_to_which_nothing_is_added_is_refused(last: Any, reason: StopReason) -> None:
    async with bench([CALL, last, reply("6")]) as it:
        done = await it.loop().run(QUESTION)
        assert done.stop_reason is reason
        done.reward = 1.0
        before = encode_trajectory(done)
        with pytest.raises(UserError, match=rf"is finished \({reason}\).*add a message") as told:
            await it.loop().run(done.messages, trajectory=done)
        assert "\n" not in str(told.value)
        assert len(it.server.requests) == 2
    assert encode_trajectory(done) == before


async def test_what_the_environment_or_a_tool_ended_is_refused_as_well() -> None:
    async with bench([CALL, reply("5")]) as it:
        done = await it.loop().run(QUESTION, done=lambda trajectory: True)
        assert done.stop_reason is StopReason.ENVIRONMENT_DONE
        with pytest.raises(UserError, match="is finished"):
            await it.loop().run(done.messages, trajectory=done)


async def test_a_limit_that_was_raised_lets_a_record_go_on() -> None:
    async with bench([CALL, reply("5")]) as it:
        short = await it.loop(limits=Limits(max_turns=1)).run(QUESTION)
        assert short.stop_reason is StopReason.MAX_TURNS
        with pytest.raises(UserError, match=r"is finished .max_turns.*raise the limit"):
            await it.loop(limits=Limits(max_turns=1)).run(short.messages, trajectory=short)
        await it.loop(limits=Limits(max_turns=2)).run(short.messages, trajectory=short)
    assert short.stop_reason is StopReason.COMPLETED


async def test_a_record_that_is_being_run_is_refused() -> None:
    trajectory = Trajectory(id="t", messages=[])
    async with bench([hang(), reply("5")]) as it:
        first = asyncio.create_task(it.loop().run(QUESTION, trajectory=trajectory))
        await it.server.until(lambda server: server.running == 1)
        with pytest.raises(UserError, match="trajectory 't' is being run"):
            await it.loop().run(QUESTION, trajectory=trajectory)
        assert trajectory.messages == QUESTION
        first.cancel()
        await asyncio.wait([first])
        await it.loop().run(trajectory.messages, trajectory=trajectory)
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_added_messages_clear_what_was_scored() -> None:
    async with bench([reply("5"), reply("6")]) as it:
        trajectory = await it.loop().run(QUESTION)
        trajectory.rewards, trajectory.reward, trajectory.advantage = {"right": 1.0}, 1.0, 0.5
        trajectory.error = ErrorRecord("KeyError", "x", "reward:right")
        await it.loop().run([*trajectory.messages, MORE], trajectory=trajectory)
    assert (trajectory.rewards, trajectory.reward, trajectory.advantage) == ({}, None, None)
    assert trajectory.error is None
    assert len(trajectory.turns) == 2


async def test_the_timing_is_that_of_all_sittings() -> None:
    async with bench([CALL, error(400, "no"), CALL, reply("5")]) as it:
        trajectory = await it.loop().run(QUESTION)
        assert trajectory.stop_reason is StopReason.MODEL_ERROR
        first = trajectory.timing
        assert first.sittings == 1
        trajectory = await it.loop().run(trajectory.messages, trajectory=stored(trajectory))
    both = trajectory.timing
    assert both.sittings == 2
    assert both.started == first.started
    assert both.model == pytest.approx(sum(turn.timing.total for turn in trajectory.turns))
    assert both.tools == pytest.approx(sum(turn.timing.tools for turn in trajectory.turns))
    assert both.total > first.total


async def test_the_working_clock_goes_on_where_it_was() -> None:
    async with bench([CALL, hang()]) as it:
        trajectory = await it.loop(limits=Limits(working_timeout=0.3)).run(QUESTION)
        assert trajectory.stop_reason is StopReason.TIMEOUT
        with pytest.raises(UserError, match=r"is finished .timeout.*raise the limit"):
            await it.loop(limits=Limits(working_timeout=0.3)).run(trajectory.messages, trajectory=trajectory)
    async with bench([reply("5")]) as it:
        await it.loop(limits=Limits(working_timeout=60.0)).run(trajectory.messages, trajectory=trajectory)
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_what_an_earlier_end_left_behind_does_not_stay() -> None:
    async with bench([error(400, "maximum context length is 10 tokens"), reply("5")]) as it:
        trajectory = await it.loop().run(QUESTION)
        trajectory.metadata |= {"context_overflow": "too long", "own": 1}
        await it.loop().run(trajectory.messages, trajectory=trajectory)
    assert trajectory.metadata == {"own": 1}


async def test_a_record_sampled_in_two_ways_says_of_neither_that_it_was_all() -> None:
    async with bench([reply("5"), reply("6"), reply("7")]) as it:
        trajectory = await it.loop(sampling=Sampling(temperature=1.0)).run(QUESTION)
        stated = trajectory.sampling
        await it.loop(sampling=Sampling(temperature=1.0)).run(
            [*trajectory.messages, MORE], trajectory=trajectory
        )
        assert trajectory.sampling == stated
        await it.loop(sampling=Sampling(temperature=0.5)).run(
            [*trajectory.messages, MORE], trajectory=trajectory
        )
    assert trajectory.sampling is None


@tool
def roll(rng: random.Random) -> int:
    """Roll."""
    return rng.randrange(1_000_000)


@tool
def count(notes: Notes) -> int:
    """Count the calls."""
    notes["calls"] = notes.get("calls", 0) + 1
    return int(notes["calls"])


ROLLS = [reply(tool_calls=[("roll", {}), ("count", {})])] * 2


async def test_random_numbers_and_notes_go_on_where_they_were() -> None:
    def told(trajectory: Trajectory) -> list[str]:
        return [message["content"] for message in trajectory.messages if message["role"] == "tool"]

    async with bench([*ROLLS, reply("done")]) as it:
        whole = await it.loop(roll, count).run(QUESTION, trajectory=Trajectory("a", [], seed=7))
    async with bench([ROLLS[0], error(400, "no"), ROLLS[1], reply("done")]) as it:
        parted = await it.loop(roll, count).run(QUESTION, trajectory=Trajectory("b", [], seed=7))
        assert parted.stop_reason is StopReason.MODEL_ERROR
        parted = await it.loop(roll, count).run(parted.messages, trajectory=stored(parted))
    assert told(parted) == told(whole)
    assert told(whole)[1::2] == ["1", "2"]


async def test_the_list_of_what_is_to_be_done_goes_on_where_it_was() -> None:
    first = reply(tool_calls=[("todo", {"add": ["wash", "dry"]})])
    second = reply(tool_calls=[("todo", {"complete": [2]})])
    async with bench([first, error(400, "no"), second, reply("done")]) as it:
        trajectory = await it.loop(todo_tool()).run(QUESTION)
        trajectory = await it.loop(todo_tool()).run(trajectory.messages, trajectory=stored(trajectory))
    assert trajectory.messages[-2]["content"] == "1. [ ] wash\n2. [x] dry"


async def test_notes_that_no_record_can_hold_are_named_and_harm_nothing() -> None:
    @tool
    def connect(notes: Notes) -> str:
        """Connect."""
        notes["socket"] = object()
        notes["big"] = "x" * 3_000_000
        notes["name"] = "n"
        return "ok"

    async with bench([reply(tool_calls=[("connect", {})]), reply("done")]) as it:
        trajectory = await it.loop(connect).run(QUESTION)
    state = stored(trajectory).tool_state
    assert state is not None
    assert (state.notes, sorted(state.lost)) == ({"name": "n"}, ["big", "socket"])


async def test_a_callers_own_context_keeps_what_is_newer() -> None:
    context = RolloutContext("c")
    async with bench([ROLLS[0], reply("done"), ROLLS[1], reply("done")]) as it:
        trajectory = await it.loop(roll, count).run(QUESTION, context=context)
        context.notes["calls"] = 10
        await it.loop(roll, count).run([*trajectory.messages, MORE], trajectory=trajectory, context=context)
    assert context.notes["calls"] == 11


async def test_a_rollout_whose_tools_keep_nothing_has_no_state_on_record() -> None:
    async with bench([CALL, reply("5")]) as it:
        assert (await it.loop(add).run(QUESTION)).tool_state is None


async def test_a_branch_from_the_end_has_the_notes_of_its_parent() -> None:
    async with bench([ROLLS[0], reply("done"), ROLLS[1], reply("done")]) as it:
        parent = await it.loop(count, roll).run(QUESTION)
        child = branch(parent, 2)
        await it.loop(count, roll).run([*child.messages, MORE], trajectory=child)
        assert branch(parent, 1).tool_state is None, "nobody knows what they were then"
    assert child.tool_state is not None
    assert child.tool_state.notes == {"calls": 2}
    assert parent.tool_state is not None
    assert parent.tool_state.notes == {"calls": 1}
