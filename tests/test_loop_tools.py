"""What a loop hands to its tools, and what it does with what they say, against a client with a script."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

from rollway.agent_loop import AgentLoop
from rollway.inference.protocol import Completion, CompletionRequest
from rollway.tools import ExecutedCall, Notes, RolloutContext, Tool, ToolPool, Workspace, tool
from rollway.trajectory import StopReason, ToolCall, ToolResult, Trajectory

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
