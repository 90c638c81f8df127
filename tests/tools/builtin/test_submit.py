"""Handing in an answer, and reading it back."""

from __future__ import annotations

import pytest
from scripted_server import ScriptedServer, reply

from rollway import AgentLoop, ToolPool
from rollway.inference import ChatClient
from rollway.tools.builtin import submit_tool, submitted_answer
from rollway.trajectory import StopReason, ToolCall, ToolResult, Trajectory, Turn


def turn(arguments: str, *, ok: bool = True, name: str = "submit") -> Turn:
    result = ToolResult(call_id="c", name=name, content="", ok=ok)
    return Turn(index=0, tool_calls=[ToolCall("c", name, arguments)], tool_results=[result])


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        ([], None),
        ([turn('{"answer": "42"}')], "42"),
        ([turn('{"answer": 42}')], "42"),
        ([turn('{"answer": 4.5}')], "4.5"),
        ([turn('{"answer": ""}')], ""),
        ([turn('{"answer": "42"}', ok=False)], None),
        ([turn('{"answer": "42"}', name="other")], None),
        ([turn("not json")], None),
        ([turn('{"answer": "1"}'), turn('{"answer": "2"}')], "2"),
    ],
)
def test_the_last_answer_that_was_accepted_is_read_back(turns: list[Turn], answer: str | None) -> None:
    assert submitted_answer(Trajectory(id="t", messages=[], turns=turns)) == answer


@pytest.mark.parametrize("arguments", ['{"answer": "seven"}', '{"answer": 7}'])
async def test_submitting_ends_the_rollout(arguments: str) -> None:
    calls = [("submit", arguments)]
    async with ScriptedServer([reply(tool_calls=calls)]) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(1) as pool:
                loop = AgentLoop(client, tools=[submit_tool()], pool=pool)
                trajectory = await loop.run([{"role": "user", "content": "?"}])
    assert trajectory.stop_reason is StopReason.TOOL_STOPPED
    assert submitted_answer(trajectory) in ("seven", "7")
    assert trajectory.tool_errors == []
