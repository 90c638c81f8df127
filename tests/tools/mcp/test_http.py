"""Servers over streamable HTTP, made with the SDK."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest

from rollway.errors import UserError
from rollway.tools import ToolFailed
from rollway.tools.mcp import McpServer, McpServerFailed, open_mcp, open_mcp_servers

Within = Callable[..., AbstractContextManager[None]]


async def test_tools_over_http_work_and_survive_a_server_that_is_killed_in_mid_call(
    serve_http: Callable[..., Any],
) -> None:
    async with serve_http() as (url, process):
        server = McpServer(name="own", url=url, headers={"X-Who": "we"}, call_timeout=60)
        async with open_mcp_servers([server]) as [source]:
            assert [tool.name for tool in source.tools] == ["add", "pid", "slow", "fail", "who"]
            sums = await asyncio.gather(*(source.call("add", {"a": n, "b": 1}) for n in range(64)))
            assert [output.content for output in sums] == [str(n + 1) for n in range(64)]
            assert (await source.call("who", {})).content == "we"
            failed = await source.call("fail", {})
            assert not failed.ok
            assert "it is the wrong day" in failed.content

            call = asyncio.create_task(source.call("slow", {"seconds": 60}))
            assert int((await source.call("pid", {})).content) == process.pid
            process.kill()
            with pytest.raises((McpServerFailed, ToolFailed), match=r"^[^\n]*MCP server 'own' [^\n]*$"):
                await asyncio.wait_for(call, 60)
            with pytest.raises((McpServerFailed, ToolFailed), match="MCP server 'own' failed: ConnectError"):
                await asyncio.wait_for(source.call("pid", {}), 60)
            async with serve_http(urlsplit(url).port) as (_, second):
                assert int((await source.call("pid", {})).content) == second.pid


async def test_a_slow_call_over_http_is_given_up_and_the_server_kept(
    serve_http: Callable[..., Any], within: Within
) -> None:
    async with serve_http() as (url, process):
        async with open_mcp_servers([McpServer(name="own", url=url)]) as [source]:
            with (
                within(source, call_timeout=0.3),
                pytest.raises(McpServerFailed, match=r"'own' did not answer within 0\.3 s"),
            ):
                await source.call("slow", {"seconds": 60})
            assert (await source.call("pid", {})).content == str(process.pid)
            assert source.restarts == 0


async def test_a_server_that_is_frozen_hangs_nothing_and_works_again_when_it_thaws(
    serve_http: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, within: Within
) -> None:
    monkeypatch.setattr("rollway.tools.mcp.source.PROBE_SECONDS", 0.2)
    monkeypatch.setattr("rollway.tools.mcp.connection.CLOSE_SECONDS", 0.2)
    monkeypatch.setattr("rollway.tools.mcp.source.FIRST_DELAY", 0.01)
    async with serve_http() as (url, process):
        async with open_mcp_servers([McpServer(name="own", url=url)]) as [source]:
            process.send_signal(signal.SIGSTOP)
            with within(source, call_timeout=0.3, start_timeout=2.0):
                with pytest.raises(McpServerFailed, match=r"'own' did not answer within 0\.3 s"):
                    await source.call("pid", {})
                with pytest.raises(McpServerFailed, match="'own' did not start within 2 s"):
                    await asyncio.wait_for(source.call("pid", {}), 60)
            process.send_signal(signal.SIGCONT)
            assert (await source.call("pid", {})).content == str(process.pid)


async def test_a_server_that_is_not_there_is_one_line_before_the_start() -> None:
    with pytest.raises(UserError, match=r"^MCP server 'x' failed: ConnectError: [^\n]*$"):
        await open_mcp(McpServer(name="x", url="http://127.0.0.1:1/mcp"))
