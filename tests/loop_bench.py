"""A loop over a scripted server, a few tools, and what every record must be; for tests of the loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scripted_server import ScriptedServer

from rollway.agent_loop import AgentLoop
from rollway.inference import ChatClient
from rollway.tools import Tool, ToolFailed, ToolOutput, ToolPool, tool
from rollway.trajectory import ToolErrorKind, Trajectory, decode_trajectory, encode_trajectory

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def explode() -> str:
    """Always raise."""
    raise RuntimeError("boom")


@tool
def complain() -> str:
    """Report an error of its own."""
    raise ToolFailed("the database is locked")


@tool
def submit(answer: str) -> ToolOutput:
    """End the rollout."""
    return ToolOutput(f"submitted {answer}", stop=True)


class Bench:
    """A server with a script, a client, a pool, and a loop over them."""

    def __init__(self, server: ScriptedServer, client: ChatClient, pool: ToolPool) -> None:
        self.server, self.client, self.pool = server, client, pool

    def loop(self, *tools: Tool, **options: Any) -> AgentLoop:
        return AgentLoop(self.client, tools=tools or (add,), pool=self.pool, **options)


@asynccontextmanager
async def bench(script: Any) -> AsyncIterator[Bench]:
    async with ScriptedServer(script) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(8) as pool:
                yield Bench(server, client, pool)


async def rolled_out(script: Any, *tools: Tool, **options: Any) -> Trajectory:
    async with bench(script) as it:
        trajectory = await it.loop(*tools, **options).run(QUESTION)
    assert_valid(trajectory)
    return trajectory


def assert_valid(trajectory: Trajectory) -> None:
    """Invariant 2: each call has exactly one tool message, in order, with unique ids; and it is JSON."""
    waiting: list[str] = []
    seen: set[str] = set()
    for message in trajectory.messages:
        if message["role"] == "tool":
            assert waiting, "a tool message without a call"
            assert message["tool_call_id"] == waiting.pop(0)
            continue
        assert not waiting, "a call without a tool message"
        waiting = [call["id"] for call in message.get("tool_calls", ())]
        assert not seen & set(waiting)
        seen |= set(waiting)
    assert not waiting
    for turn in trajectory.turns:
        assert [result.call_id for result in turn.tool_results] == [call.id for call in turn.tool_calls]
    assert decode_trajectory(encode_trajectory(trajectory)) == trajectory


def kinds(trajectory: Trajectory) -> list[ToolErrorKind]:
    return [error.kind for error in trajectory.tool_errors]


def told(trajectory: Trajectory) -> list[str]:
    return [message["content"] for message in trajectory.messages if message["role"] == "tool"]
