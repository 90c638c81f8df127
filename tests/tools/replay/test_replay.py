"""Recording a rollout's calls and answering the same calls from the record."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import ScriptedRequest, ScriptedServer, reply

from rollway import AgentLoop, Limits, ToolPool, tool
from rollway.inference import ChatClient
from rollway.tools import ExecutedCall, RolloutContext, ToolOutput
from rollway.tools.replay import (
    RecordedCall,
    Recording,
    ToolRecorder,
    ToolReplayer,
    decode_recording,
    encode_recording,
)
from rollway.trajectory import StopReason, ToolCall, ToolError, ToolErrorKind, ToolResult, Trajectory

KEY = ("task 1", 0)
Turns = list[list[tuple[str, Any]]]


async def never() -> ExecutedCall:
    raise AssertionError("a replay ran a tool")


def answered(name: str, arguments: str, content: str, stop: bool = False) -> ExecutedCall:
    return ExecutedCall(ToolResult("old", name, content, ok=True, duration=1.5), stop=stop)


def recording_of(turns: Turns) -> Recording:
    """Each call's answer says where it stands."""
    calls = []
    for turn, names in enumerate(turns, 1):
        for position, (name, arguments) in enumerate(names):
            text = json.dumps(arguments)
            calls.append(RecordedCall(turn, position, name, text, answered(name, text, f"{turn}.{position}")))
    return Recording(*KEY, calls)


async def replayed(replayer: ToolReplayer, turns: Turns) -> list[list[str]]:
    """What the calls of ``turns`` are told; ``"refused"`` where they are not on record."""
    told: list[list[str]] = []
    number = 0
    for turn, calls in enumerate(turns, 1):
        told.append([])
        for name, arguments in calls:
            number += 1
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            call = ToolCall(f"new-{number}", name, text)
            executed = await replayer(call, turn=turn, context=RolloutContext(), run=never)
            assert executed.result.call_id == call.id
            if executed.error is not None:
                assert executed.error.kind is ToolErrorKind.NOT_ALLOWED
                assert executed.error.turn == turn
                told[-1].append("refused")
            else:
                told[-1].append(executed.result.content)
    return told


async def test_the_same_calls_get_the_same_answers_under_their_own_ids() -> None:
    turns: Turns = [[("a", {}), ("b", {"x": 1})], [("a", {})], [], [("b", {"x": 1}), ("b", {"x": 1})]]
    replayer = ToolReplayer(recording_of(turns))
    assert await replayed(replayer, turns) == [["1.0", "1.1"], ["2.0"], [], ["4.0", "4.1"]]
    assert replayer.metadata() == {"answered": 5, "refused": 0, "unused": 0, "left_at": None}


async def test_another_order_in_a_turn_and_another_spelling_of_arguments_are_the_same_calls() -> None:
    replayer = ToolReplayer(recording_of([[("a", {"x": 1, "y": [1, 2]}), ("b", {}), ("c", {})]]))
    calls: Turns = [[("c", ""), ("a", '{ "y": [1,2],\n "x": 1}'), ("b", "{}")]]
    assert await replayed(replayer, calls) == [["1.2", "1.0", "1.1"]]


@given(st.permutations([("a", {"x": 1}), ("a", {"x": 2}), ("b", {"x": 1}), ("b", {}), ("c", {"x": [1]})]))
def test_every_order_of_different_calls_finds_each_its_own_answer(calls: list[tuple[str, Any]]) -> None:
    on_record = [("a", {"x": 1}), ("a", {"x": 2}), ("b", {"x": 1}), ("b", {}), ("c", {"x": [1]})]
    replayer = ToolReplayer(recording_of([on_record]))  # type: ignore[list-item]
    told = asyncio.run(replayed(replayer, [calls]))
    assert told == [[f"1.{on_record.index(call)}" for call in calls]]


async def test_arguments_that_are_no_json_are_compared_as_they_were_written() -> None:
    entry = RecordedCall(1, 0, "a", '{"x": ', answered("a", "", "broken"))
    replayer = ToolReplayer(Recording(*KEY, [entry]))
    assert await replayed(replayer, [[("a", '{"x":'), ("a", '{"x": ')]]) == [["refused", "broken"]]


@pytest.mark.parametrize(
    ("calls", "told", "left_at"),
    [
        (  # another call
            [[("a", {})], [("z", {})], [("c", {})]],
            [["1.0"], ["refused"], ["refused"]],
            (2, 1, ("b", {"x": 1}), ("z", {})),
        ),
        (  # other arguments
            [[("a", {})], [("b", {"x": 2})], [("c", {})]],
            [["1.0"], ["refused"], ["refused"]],
            (2, 1, ("b", {"x": 1}), ("b", {"x": 2})),
        ),
        (  # one call more: its siblings are still answered, later turns are not
            [[("a", {})], [("z", {}), ("b", {"x": 1})], [("c", {})]],
            [["1.0"], ["refused", "2.0"], ["refused"]],
            (2, 1, ("b", {"x": 1}), ("z", {})),
        ),
        (  # one call more at the end of a turn, where nothing is on record
            [[("a", {}), ("a", {})]],
            [["1.0", "refused"]],
            (1, 2, None, ("a", {})),
        ),
        (  # a turn more
            [[("a", {})], [("b", {"x": 1})], [("c", {})], [("c", {})]],
            [["1.0"], ["2.0"], ["3.0"], ["refused"]],
            (4, 1, None, ("c", {})),
        ),
        (  # a recorded call that was left out: what follows it is not true any more
            [[("a", {})], [], [("c", {})]],
            [["1.0"], [], ["refused"]],
            (2, 1, ("b", {"x": 1}), None),
        ),
    ],
)
async def test_where_a_rollout_leaves_its_record_is_said_and_nothing_runs(
    calls: Turns, told: list[list[str]], left_at: tuple[Any, ...]
) -> None:
    replayer = ToolReplayer(recording_of([[("a", {})], [("b", {"x": 1})], [("c", {})]]))
    assert await replayed(replayer, calls) == told
    found = replayer.metadata()["left_at"]
    expected, got = (
        None if call is None else {"name": call[0], "arguments": json.dumps(call[1])} for call in left_at[2:]
    )
    assert found == {"turn": left_at[0], "call": left_at[1], "expected": expected, "got": got}


async def test_a_refused_call_says_where_the_record_was_left() -> None:
    replayer = ToolReplayer(recording_of([[("a", {"x": 1})]]))
    call = ToolCall("new", "a", '{"x": 2}')
    executed = await replayer(call, turn=1, context=RolloutContext(), run=never)
    assert executed.error is not None
    assert executed.error.error == (
        "not run, because it is not in the recording: the rollout diverged at turn 1, call 1: expected "
        'a({"x": 1}), got a({"x": 2})'
    )
    assert executed.result.content == "Not run: this is a replay, and this call was not recorded."


TEXT = st.text(max_size=20)
RESULTS = st.builds(ToolResult, TEXT, TEXT, TEXT, st.booleans(), truncated_from=st.none() | st.integers(0, 9))
ERRORS = st.builds(ToolError, st.integers(1, 9), TEXT, TEXT, st.sampled_from(ToolErrorKind), TEXT, TEXT)
ANSWERS = st.none() | st.builds(ExecutedCall, RESULTS, st.none() | ERRORS, st.booleans())
CALLS = st.builds(RecordedCall, st.integers(1, 9), st.integers(0, 9), TEXT, TEXT, ANSWERS)


SERVERS = st.none() | st.dictionaries(TEXT, TEXT, max_size=3)


@given(st.builds(Recording, TEXT, st.integers(0, 9), st.lists(CALLS), TEXT, st.none() | TEXT, SERVERS))
def test_a_recording_is_read_back_equal(recording: Recording) -> None:
    line = encode_recording(recording)
    assert b"\n" not in line
    assert decode_recording(line) == recording


# Whole rollouts


def tools(ran: list[str], hold: Callable[[str], Awaitable[None]]) -> list[Any]:
    @tool
    async def draw(name: str) -> str:
        """Draw a number that nobody can foresee."""
        ran.append(name)
        await hold(name)
        return f"{name} {random.random()}"

    @tool
    def fail(name: str) -> str:
        """Fail."""
        ran.append(name)
        raise ValueError(name)

    @tool
    def finish(name: str) -> ToolOutput:
        """End the rollout."""
        ran.append(name)
        return ToolOutput(f"bye {random.random()}", stop=True)

    return [draw, fail, finish]


def policy(request: ScriptedRequest) -> Any:
    turns = [
        [("draw", {"name": "slow"}), ("draw", {"name": "quick"}), ("nothing", {}), ("draw", "{")],
        [("fail", {"name": "x"}), ("draw", {"name": "y"})],
        [("finish", {"name": "z"})],
    ]
    return reply(
        tool_calls=turns[sum(message["role"] == "assistant" for message in request.body["messages"])]
    )


async def roll_out(execute: Any, ran: list[str], script: Any = policy, **limits: Any) -> Trajectory:
    quick_ran = asyncio.Event()

    async def hold(name: str) -> None:
        if name == "quick":
            quick_ran.set()
        elif name == "slow":
            await quick_ran.wait()  # the answers come in another order than the calls
        elif name == "ever":
            await asyncio.Event().wait()

    async with ScriptedServer(script) as server, ToolPool(4) as pool:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            loop = AgentLoop(
                client, tools=tools(ran, hold), pool=pool, limits=Limits(**limits), execute=execute
            )
            return await loop.run([{"role": "user", "content": "Draw."}])


def contents(trajectory: Trajectory) -> list[tuple[str, str, bool, int | None]]:
    results = [result for turn in trajectory.turns for result in turn.tool_results]
    return [(result.name, result.content, result.ok, result.truncated_from) for result in results]


async def test_a_whole_rollout_is_replayed_without_a_single_tool() -> None:
    ran: list[str] = []
    recorder = ToolRecorder()
    first = await roll_out(recorder, ran)
    assert first.stop_reason is StopReason.TOOL_STOPPED
    assert sorted(ran) == ["quick", "slow", "x", "y", "z"]
    recording = decode_recording(encode_recording(recorder.recording(KEY, trajectory_id=first.id)))
    assert [(call.turn, call.position) for call in recording.calls] == [
        *((1, n) for n in range(4)),
        (2, 0),
        (2, 1),
        (3, 0),
    ]
    replayer = ToolReplayer(recording)
    second = await roll_out(replayer, ran)
    assert len(ran) == 5
    assert second.stop_reason is StopReason.TOOL_STOPPED
    assert contents(second) == contents(first)
    assert second.tool_errors == first.tool_errors
    for turn in second.turns:
        assert [result.call_id for result in turn.tool_results] == [call.id for call in turn.tool_calls]
    assert replayer.metadata() == {"answered": 7, "refused": 0, "unused": 0, "left_at": None}


async def test_a_rollout_that_leaves_its_record_runs_nothing_either() -> None:
    ran: list[str] = []
    recorder = ToolRecorder()
    await roll_out(recorder, ran)

    def other(request: ScriptedRequest) -> Any:
        if len(request.body["messages"]) == 1:
            return policy(request)
        if len(request.body["messages"]) == 6:
            return reply(tool_calls=[("finish", {"name": "z"})])
        return reply(content="enough")

    replayer = ToolReplayer(recorder.recording(KEY))
    before = len(ran)
    trajectory = await roll_out(replayer, ran, other)
    assert len(ran) == before
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert trajectory.tool_errors[-1].kind is ToolErrorKind.NOT_ALLOWED
    assert replayer.metadata()["left_at"] == {
        "turn": 2,
        "call": 1,
        "expected": {"name": "fail", "arguments": '{"name": "x"}'},
        "got": {"name": "finish", "arguments": '{"name": "z"}'},
    }


async def test_a_call_that_was_cut_off_on_record_is_cut_off_in_the_replay() -> None:
    def script(request: ScriptedRequest) -> Any:
        if len(request.body["messages"]) > 1:
            return reply(content="over")
        return reply(tool_calls=[("draw", {"name": "ever"}), ("draw", {"name": "y"})])

    ran: list[str] = []
    for timeout in (0.3, 3.0, 30.0):  # until a slow machine has got to the second answer
        recorder = ToolRecorder()
        first = await roll_out(recorder, ran, script, timeout=timeout)
        assert first.stop_reason is StopReason.TIMEOUT
        recording = recorder.recording(KEY)
        if any(call.answer is not None for call in recording.calls):
            break
    assert recording.calls[0].answer is None
    assert recording.calls[1].answer is not None
    second = await roll_out(ToolReplayer(recording), [], script)
    assert [error.kind for error in second.tool_errors] == [ToolErrorKind.CANCELLED]
    assert second.turns[0].tool_results[1].content == recording.calls[1].answer.result.content
