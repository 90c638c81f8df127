"""What a loop hands to its tools, and what it does with what they say, against a client with a script."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rollway.agent_loop import AgentLoop
from rollway.errors import UserError
from rollway.inference.protocol import Completion, CompletionRequest
from rollway.limits import Limits
from rollway.tools import (
    ApprovalPolicy,
    ApprovalRequest,
    Approved,
    Denied,
    ExecutedCall,
    Notes,
    RolloutContext,
    Tool,
    ToolPool,
    Workspace,
    tool,
)
from rollway.tools.replay import ToolRecorder, ToolReplayer, decode_recording, encode_recording
from rollway.trajectory import (
    StopReason,
    ToolCall,
    ToolErrorKind,
    ToolResult,
    Trajectory,
    decode_trajectory,
    encode_trajectory,
)

QUESTION = [{"role": "user", "content": "Go on."}]


class ScriptedClient:
    """Answers with the calls of each turn, then with ``done``."""

    def __init__(self, *turns: list[tuple[str, Any]]) -> None:
        self.turns = turns
        self.requests: list[CompletionRequest] = []

    async def generate(self, request: CompletionRequest) -> Completion:
        turn = len(self.requests)
        self.requests.append(request)
        if turn >= len(self.turns):
            return Completion(content="done", finish_reason="stop")
        calls = [
            ToolCall(f"call_{turn}_{i}", name, given if isinstance(given, str) else json.dumps(given))
            for i, (name, given) in enumerate(self.turns[turn])
        ]
        return Completion(tool_calls=calls, finish_reason="tool_calls")

    async def close(self) -> None: ...


async def rolled_out(
    turns: list[list[tuple[str, Any]]],
    *tools: Tool,
    context: RolloutContext | None = None,
    trajectory: Trajectory | None = None,
    **options: Any,
) -> Trajectory:
    with ToolPool(4) as pool:
        loop = AgentLoop(ScriptedClient(*turns), tools=tools, pool=pool, **options)
        return await loop.run(QUESTION, context=context, trajectory=trajectory)


def told(trajectory: Trajectory) -> list[str]:
    return [message["content"] for message in trajectory.messages if message["role"] == "tool"]


@tool
def roll(rng: random.Random, notes: Notes) -> str:
    """Roll the dice."""
    notes["rolls"] = notes.get("rolls", 0) + 1
    return f"{notes['rolls']}: {rng.randrange(10**9)}"


@tool
def look(board: Workspace[list[str]]) -> str:
    """Look at the board."""
    return " ".join(board)


async def test_tools_get_the_rollouts_own_context() -> None:
    trajectory = await rolled_out([[("look", {})]], look, context=RolloutContext(workspace=["a", "b"]))
    assert told(trajectory) == ["a b"]
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_without_a_context_notes_last_a_rollout_and_chance_is_the_seeds() -> None:
    def record() -> Trajectory:
        return Trajectory(id="one", messages=[], seed=7)

    turns: list[list[tuple[str, Any]]] = [[("roll", {})], [("roll", {})]]
    first = await rolled_out(turns, roll, trajectory=record())
    again = await rolled_out(turns, roll, trajectory=record())
    assert told(first) == told(again)
    assert [text.partition(":")[0] for text in told(first)] == ["1", "2"]


async def test_an_executor_stands_around_every_call() -> None:
    seen: list[tuple[str, int, str]] = []

    async def execute(
        call: ToolCall, *, turn: int, context: RolloutContext, run: Callable[[], Awaitable[ExecutedCall]]
    ) -> ExecutedCall:
        seen.append((call.name, turn, context.rollout_id))
        if call.name == "roll":
            return ExecutedCall(ToolResult(call.id, call.name, "from the record", ok=True))
        return await run()

    context = RolloutContext("r1", workspace=["a"])
    turns: list[list[tuple[str, Any]]] = [[("roll", {}), ("look", {})], [("roll", {})]]
    trajectory = await rolled_out(turns, roll, look, context=context, execute=execute)
    assert told(trajectory) == ["from the record", "a", "from the record"]
    assert seen == [("roll", 1, "r1"), ("look", 1, "r1"), ("roll", 2, "r1")]
    assert context.notes == {}


@tool
def say(count: int, letter: str = "x") -> str:
    """Say a letter many times."""
    return letter * count


async def test_the_results_of_a_turn_share_its_budget() -> None:
    calls: list[tuple[str, Any]] = [("say", {"count": 10}), ("say", {"count": 5000}), ("say", {"count": 900})]
    limits = Limits(max_result_chars=2000, max_turn_result_chars=1500)
    trajectory = await rolled_out([calls], say, limits=limits)
    short, long, middle = told(trajectory)
    assert short == "x" * 10
    assert len(long) + len(middle) <= 1490
    assert abs(len(long) - len(middle)) <= 2
    assert [result.truncated_from for result in trajectory.turns[0].tool_results] == [None, 5000, 900]
    assert [result.content for result in trajectory.turns[0].tool_results] == told(trajectory)


async def test_a_long_result_is_cut_by_the_limits() -> None:
    trajectory = await rolled_out([[("say", {"count": 5000})]], say, limits=Limits(max_result_chars=100))
    assert len(told(trajectory)[0]) <= 100
    whole = await rolled_out([[("say", {"count": 70_000})]], say, limits=Limits(max_result_chars=None))
    assert len(told(whole)[0]) == 70_000


async def test_long_results_are_kept_in_the_sandbox_on_request() -> None:
    files: dict[str, bytes] = {}

    class Files:
        async def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
            files[path] = data

    context = RolloutContext(sandbox=Files())  # type: ignore[arg-type]
    limits = Limits(max_result_chars=100)
    trajectory = await rolled_out(
        [[("say", {"count": 5000})]], say, limits=limits, context=context, keep_results=True
    )
    assert files == {".results/call_0_0.txt": b"x" * 5000}
    assert "the whole result is in .results/call_0_0.txt" in told(trajectory)[0]
    with pytest.raises(UserError, match="keep_results requires a sandbox"):
        await rolled_out([], say, keep_results=True)


async def test_a_denied_call_is_in_the_record_and_the_history_keeps_what_the_model_wrote() -> None:
    def ask(request: ApprovalRequest) -> Approved | Denied:
        return Approved({"count": 2}) if request.arguments["count"] < 10 else Denied("Too long.")

    calls: list[tuple[str, Any]] = [("say", '{"count":  3}'), ("say", {"count": 30})]
    trajectory = await rolled_out([calls], say, approval=ApprovalPolicy(ask=ask))
    assert told(trajectory) == ["xx", "Too long."]
    edited, denied = trajectory.turns[0].tool_results
    assert (edited.approval, edited.edited_arguments) == ("edited", '{"count":2}')
    assert denied.approval == "denied"
    assert [error.kind for error in trajectory.tool_errors] == [ToolErrorKind.DENIED]
    written = [call["function"]["arguments"] for call in trajectory.messages[1]["tool_calls"]]
    assert written[0] == '{"count":  3}'
    assert decode_trajectory(encode_trajectory(trajectory)) == trajectory


async def test_calls_that_nobody_offered_are_answered_without_a_pool() -> None:
    loop = AgentLoop(ScriptedClient([("say", {"count": 1})]))
    trajectory = await loop.run(QUESTION)
    assert [error.kind for error in trajectory.tool_errors] == [ToolErrorKind.UNKNOWN_TOOL]


async def test_a_replayed_turn_is_cut_as_the_recorded_one_was() -> None:
    recorder = ToolRecorder()
    calls: list[tuple[str, Any]] = [("say", {"count": 5000}), ("say", {"count": 900, "letter": "y"})]
    limits = Limits(max_result_chars=2000, max_turn_result_chars=1000)
    first = await rolled_out([calls], say, limits=limits, execute=recorder)
    recording = decode_recording(encode_recording(recorder.recording(("task", 0))))
    again = await rolled_out([calls], say, limits=limits, execute=ToolReplayer(recording))
    assert told(again) == told(first)
    assert all(content.count("characters cut") == 1 for content in told(again))


async def test_a_rollout_whose_machine_ran_out_is_not_scored() -> None:
    @tool
    def save() -> str:
        """Save something."""
        raise OSError(errno.ENOSPC, "No space left on device")

    @tool
    def look() -> str:
        """Look at something."""
        return "seen"

    trajectory = await rolled_out([[("look", {}), ("save", {})]], save, look)
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert trajectory.error is not None
    assert (trajectory.error.kind, trajectory.error.where) == ("OSError", "tools")
    assert "No space left" in trajectory.error.message
    assert told(trajectory)[0] == "seen"
    assert len(trajectory.turns) == 1


async def test_a_machine_that_recovered_leaves_no_trace_in_the_next_turn() -> None:
    failed: list[bool] = []

    @tool
    def read() -> str:
        """Read something that may be missing."""
        failed.append(True)
        raise FileNotFoundError("no such file")

    trajectory = await rolled_out([[("read", {})], [("read", {})]], read)
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert len(failed) == 2
