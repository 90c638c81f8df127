"""Every format drives a whole tool turn: the model's text, the tool's result, the answer."""

from __future__ import annotations

import json

import pytest
from scripted_server import ScriptedServer, reply

from rollway.agent_loop import AgentLoop
from rollway.inference import ChatClient
from rollway.tool_parsers import get_parser, list_parsers
from rollway.tools import ToolPool, tool
from rollway.trajectory import StopReason, ToolCall


@tool
def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


@pytest.mark.parametrize("name", list_parsers())
async def test_a_format_drives_a_whole_tool_turn(name: str) -> None:
    parser = get_parser(name)
    text = parser.render([ToolCall("functions.add:0", "add", json.dumps({"a": 2, "b": 3}))])
    async with ScriptedServer([reply(text), reply("The answer is 5.")]) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(2) as pool:
                loop = AgentLoop(client, tools=[add], pool=pool, tool_parser=name)
                trajectory = await loop.run([{"role": "user", "content": "2 + 3?"}])
        asked_again = server.requests[1].body["messages"]
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert trajectory.tool_errors == []
    assert trajectory.turns[0].parsed_by == parser.name
    assert [message["role"] for message in asked_again] == ["user", "assistant", "tool"]
    assert asked_again[2]["content"] == "5"
    assert trajectory.turns[1].content == "The answer is 5."
