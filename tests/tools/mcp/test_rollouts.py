"""Whole rollouts on a server that nobody here wrote: mcp-server-time over stdio."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, reply

from rollway import AgentLoop, Limits, ToolPool
from rollway.inference import ChatClient
from rollway.tools.mcp import McpServer, McpSource, open_mcp_servers, with_mcp_tools
from rollway.trajectory import StopReason, ToolErrorKind, Trajectory

QUESTION = [{"role": "user", "content": "What time is it in Tokyo when it is noon in Paris?"}]
ARGUMENTS = {"source_timezone": "Asia/Kolkata", "time": "12:00", "target_timezone": "Asia/Tokyo"}


@pytest.fixture
async def clock() -> AsyncIterator[McpSource]:
    server = McpServer(name="time", command="mcp-server-time", args=["--local-timezone", "UTC"])
    async with open_mcp_servers([server]) as [source]:
        yield source


def policy(request: ScriptedRequest) -> Any:
    """Call a tool wrongly in two ways, then rightly, then answer from its result."""
    results = [m["content"] for m in request.body["messages"] if m["role"] == "tool"]
    if not results:
        return reply(tool_calls=[("convert_time", ARGUMENTS | {"time": "noon"}), ("convert_time", "{}")])
    if len(results) == 2:
        return reply(tool_calls=[("convert_time", ARGUMENTS)])
    return reply(content=json.loads(results[-1])["target"]["datetime"][11:16])


async def roll_out(url: str, source: McpSource, pool: ToolPool, **limits: Any) -> Trajectory:
    async with ChatClient(base_url=url, model="scripted") as client:
        loop = AgentLoop(client, tools=source.tools, pool=pool, limits=Limits(max_turns=8, **limits))
        return await loop.run(QUESTION)


async def test_a_rollout_uses_the_tools_of_a_server(clock: McpSource) -> None:
    async with ScriptedServer(policy) as server, ToolPool(2) as pool:
        trajectory = await roll_out(server.url, clock, pool)
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert trajectory.messages[-1]["content"] == "15:30"
    reported, invalid = trajectory.tool_errors
    assert reported.kind is ToolErrorKind.TOOL_REPORTED
    assert "Invalid time format" in reported.error
    assert invalid.kind is ToolErrorKind.INVALID_ARGUMENTS
    assert "missing 'source_timezone', 'time', 'target_timezone'" in invalid.error
    offered = server.requests[0].body["tools"]
    assert [entry["function"]["name"] for entry in offered] == ["get_current_time", "convert_time"]


async def test_64_rollouts_at_a_time_share_one_server(clock: McpSource) -> None:
    async with ScriptedServer(policy) as server, ToolPool(2) as pool:
        rollouts = [roll_out(server.url, clock, pool) for _ in range(64)]
        trajectories = await asyncio.gather(*rollouts)
    assert {trajectory.messages[-1]["content"] for trajectory in trajectories} == {"15:30"}
    assert clock.restarts == 0


async def test_a_server_that_is_killed_costs_one_call_and_not_the_rollout(
    raw: Callable[..., McpServer],
) -> None:
    def script(request: ScriptedRequest) -> Any:
        done = sum(message["role"] == "tool" for message in request.body["messages"])
        names = ["pid", "hang", "pid"]
        return reply(tool_calls=[(names[done], {})]) if done < 3 else reply(content="over")

    async with ScriptedServer(script) as server, ToolPool(2) as pool, open_mcp_servers([raw()]) as [source]:
        rollout = asyncio.create_task(roll_out(server.url, source, pool))
        first = int((await source.call("pid", {})).content)
        await server.until(lambda server: server.finished == 2)
        async with asyncio.timeout(60):
            while not source._connection._requests:
                await asyncio.sleep(0.001)
        os.kill(first, signal.SIGKILL)
        trajectory = await asyncio.wait_for(rollout, 60)
    assert trajectory.stop_reason is StopReason.COMPLETED
    before, killed, after = (turn.tool_results[0] for turn in trajectory.turns[:3])
    assert before.content == str(first)
    assert not killed.ok
    assert "raised McpServerFailed: MCP server 'raw' was ended by signal 9" in killed.content
    assert after.ok
    assert after.content != before.content
    assert [error.kind for error in trajectory.tool_errors] == [ToolErrorKind.EXCEPTION]


async def test_a_rollout_that_runs_out_of_time_leaves_the_server_to_the_others(
    raw: Callable[..., McpServer],
) -> None:
    def script(request: ScriptedRequest) -> Any:
        return reply(tool_calls=[("hang", {})])

    async with ScriptedServer(script) as server, ToolPool(2) as pool, open_mcp_servers([raw()]) as [source]:
        before = (await source.call("pid", {})).content
        rollouts = [roll_out(server.url, source, pool, timeout=0.5) for _ in range(8)]
        trajectories = await asyncio.gather(*rollouts)
        assert {trajectory.stop_reason for trajectory in trajectories} == {StopReason.TIMEOUT}
        assert (await source.call("pid", {})).content == before


async def test_two_servers_stand_side_by_side_with_prefixes(tmp_path: Path) -> None:
    run = functools.partial(subprocess.run, check=True, cwd=tmp_path)
    run(["git", "init", "-q", "-b", "main"])
    run(
        [
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "one step",
        ]
    )
    servers = [
        McpServer(name="time", command="mcp-server-time", args=["--local-timezone", "UTC"], prefix="time_"),
        McpServer(name="git", command="mcp-server-git", args=["--repository", str(tmp_path)]),
    ]
    async with open_mcp_servers(servers) as sources:
        tools = {entry.name: entry for entry in with_mcp_tools([], sources, "environment 'x'")}
        log = await tools["git_log"](repo_path=str(tmp_path))
        branch = await tools["git_status"](repo_path=str(tmp_path))
    assert "one step" in log.content
    assert "main" in branch.content
    assert {"time_get_current_time", "time_convert_time", "git_diff"} <= set(tools)
