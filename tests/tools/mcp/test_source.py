"""Tools of servers over stdio: what they return, and what becomes of calls when a server misbehaves."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from rollway.errors import UserError
from rollway.tools import ToolFailed, tool
from rollway.tools.mcp import (
    McpServer,
    McpServerFailed,
    check_mcp_servers,
    open_mcp,
    open_mcp_servers,
    with_mcp_tools,
)

Raw = Callable[..., McpServer]
Ends = Callable[[int], Any]
Within = Callable[..., AbstractContextManager[None]]


async def pid_of(source: Any) -> int:
    return int((await source.call("pid", {})).content)


async def test_the_tools_of_all_pages_are_listed_once_in_order(raw: Raw) -> None:
    async with open_mcp_servers([raw(prefix="raw_")]) as [source]:
        names = [tool.name for tool in source.tools]
    listed = ["pid", "hang", "freeze", "die", "flood", "chatter", "spawn", "env", "odd", "refuse", "echo"]
    assert names == [f"raw_{name}" for name in listed]


async def test_only_tools_that_are_allowed_are_there_and_one_that_is_not_listed_is_named(raw: Raw) -> None:
    async with open_mcp_servers([raw(tools=["echo", "pid"])]) as [source]:
        assert [tool.name for tool in source.tools] == ["pid", "echo"]
    with pytest.raises(UserError, match=r"'raw' has no tool 'ecko' \(did you mean 'echo'\?\)"):
        await open_mcp(raw(tools=["ecko"]))


async def test_a_list_of_tools_without_an_end_is_told(raw: Raw) -> None:
    with pytest.raises(UserError, match="its list of tools exceeds 1000 pages"):
        await open_mcp(raw("endless"))


async def test_arguments_arrive_as_they_are_whatever_their_names(raw: Raw) -> None:
    arguments = {"self": 1, "name": None, "arguments": {"x": [None, "ü"]}}
    async with open_mcp_servers([raw()]) as [source]:
        echo = next(tool for tool in source.tools if tool.name == "echo")
        args, kwargs = echo.bind(json.dumps(arguments))
        assert json.loads((await echo(*args, **kwargs)).content) == arguments


async def test_what_is_no_text_is_said_in_words(raw: Raw) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        output = await source.call("odd", {})
    assert output.content.split("\n") == [
        "see",
        "[an image, image/png, 3 bytes: not shown]",
        "[the resource file:///t]",
        "in full",
        "[the resource file:///b, application/zip, 2 bytes: not shown]",
        "[a link to the resource 'r': file:///r, 9 bytes]",
    ]


async def test_a_call_that_the_server_refuses_is_a_reported_error(raw: Raw) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        with pytest.raises(ToolFailed, match="'raw' refused the call: not like this"):
            await source.call("refuse", {})
        assert source.restarts == 0


async def test_a_server_killed_in_mid_call_is_an_error_of_that_call_and_the_next_one_works(raw: Raw) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        before = await pid_of(source)
        call = asyncio.create_task(source.call("hang", {}))
        await asyncio.sleep(0)
        os.kill(before, signal.SIGKILL)
        with pytest.raises(McpServerFailed, match=r"^MCP server 'raw' was ended by signal 9$"):
            await asyncio.wait_for(call, 60)
        assert await pid_of(source) != before
        assert source.restarts == 1


async def test_a_server_killed_between_calls_is_not_noticed_by_the_next_one(raw: Raw, ends: Ends) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        before = await pid_of(source)
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(60):
            while source._connection.alive:
                await asyncio.sleep(0.01)
        assert await pid_of(source) != before


async def test_a_server_that_ends_itself_is_told_with_its_last_words(raw: Raw) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        with pytest.raises(
            McpServerFailed, match="'raw' ended with exit code 3; its last output: it is over"
        ):
            await source.call("die", {})


async def test_all_calls_in_flight_fail_together_and_one_start_serves_all_that_follow(raw: Raw) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        calls = [asyncio.create_task(source.call("hang", {})) for _ in range(20)]
        await asyncio.sleep(0)
        with pytest.raises(McpServerFailed):
            await source.call("die", {})
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        assert {type(outcome) for outcome in outcomes} == {McpServerFailed}
        assert len(set(await asyncio.gather(*(pid_of(source) for _ in range(20))))) == 1
        assert source.restarts == 1


async def test_a_slow_call_is_given_up_and_the_server_that_still_answers_is_kept(
    raw: Raw, within: Within
) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        before = await pid_of(source)
        with (
            within(source, call_timeout=0.2),
            pytest.raises(McpServerFailed, match=r"'raw' did not answer within 0\.2 s"),
        ):
            await source.call("hang", {})
        assert await pid_of(source) == before


async def test_a_hung_server_is_replaced_for_the_next_call(
    raw: Raw, monkeypatch: pytest.MonkeyPatch, ends: Ends, within: Within
) -> None:
    monkeypatch.setattr("rollway.tools.mcp.source.PROBE_SECONDS", 0.2)
    async with open_mcp_servers([raw()]) as [source]:
        before = await pid_of(source)
        with within(source, call_timeout=0.3), pytest.raises(McpServerFailed, match="did not answer"):
            await source.call("freeze", {})
        assert await pid_of(source) != before
        await ends(before)


async def test_a_cancelled_call_breaks_nothing(raw: Raw) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        before = await pid_of(source)
        calls = [asyncio.create_task(source.call("hang", {})) for _ in range(20)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls, timeout=60)
        assert all(call.cancelled() for call in calls)
        assert await pid_of(source) == before


async def test_whoever_is_cancelled_while_the_server_starts_leaves_it_to_the_others(raw: Raw) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        with pytest.raises(McpServerFailed):
            await source.call("die", {})
        first = asyncio.create_task(pid_of(source))
        second = asyncio.create_task(pid_of(source))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second
        assert source.restarts == 1


async def test_a_server_that_cannot_be_started_again_fails_calls_at_once_after_some_tries(
    raw: Raw, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rollway.tools.mcp.source.FIRST_DELAY", 0.001)
    monkeypatch.setattr("rollway.tools.mcp.source.MOST_FAILURES", 3)
    script = tmp_path / "server.py"
    shutil.copy(raw().args[2], script)
    async with open_mcp_servers([raw(args=[str(script)])]) as [source]:
        script.write_text("import sys; sys.exit('gone for good')")
        with pytest.raises(McpServerFailed):
            await source.call("die", {})
        for _ in range(3):
            with pytest.raises(
                McpServerFailed, match="ended with exit code 1; its last output: gone for good"
            ):
                await source.call("pid", {})
        source._next_start = time.monotonic() + 3000
        with pytest.raises(McpServerFailed, match=r"gone for good; it restarts in (29\d\d|3000) s"):
            await asyncio.wait_for(source.call("pid", {}), 60)


async def test_lines_on_stdout_that_are_no_message_are_skipped_and_logged_once(
    raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_mcp_servers([raw("noisy")]) as [source]:
        assert (await source.call("chatter", {"lines": 100})).content == "done"
    told = [record for record in ours(caplog) if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "'raw' wrote to stdout something that is not a message: b'INFO starting" in told[0].getMessage()


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Not what other libraries say meanwhile of what other tests have left."""
    return [record for record in caplog.records if record.name.startswith("rollway.")]


async def test_a_server_that_writes_nothing_but_garbage_is_given_up(raw: Raw) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        with pytest.raises(
            McpServerFailed, match="wrote more than 1000 lines to stdout that are not messages"
        ):
            await source.call("chatter", {"lines": 1100})
        assert await pid_of(source)


async def test_a_flood_on_stderr_stops_nothing_and_fills_no_log(
    raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_mcp_servers([raw()]) as [source]:
        for _ in range(5):
            assert (await source.call("flood", {})).content == "done"
    assert 0 < sum(len(record.getMessage()) for record in ours(caplog)) < 400_000
    assert "further stderr output is not logged" in caplog.text


async def test_nothing_of_our_environment_reaches_the_server(
    raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    async with open_mcp_servers([raw(env={"GIVEN": "yes"})]) as [source]:
        seen = json.loads((await source.call("env", {})).content)
    assert seen["GIVEN"] == "yes"
    assert "s3cret" not in seen.values()
    allowed = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "GIVEN", "LC_CTYPE"}
    assert set(seen) <= allowed
    async with open_mcp_servers([raw(env={"TOKEN": "a ${SECRET_TOKEN}"})]) as [source]:
        assert json.loads((await source.call("env", {})).content)["TOKEN"] == "a s3cret"


async def test_closing_ends_the_server_and_the_daemons_that_it_left(raw: Raw, ends: Ends) -> None:
    async with open_mcp_servers([raw()]) as [source]:
        server, daemon = await pid_of(source), int((await source.call("spawn", {})).content)
    await ends(server)
    await ends(daemon)


async def test_a_server_that_will_not_end_is_killed(raw: Raw, ends: Ends) -> None:
    async with open_mcp_servers([raw("stubborn")]) as [source]:
        server = await pid_of(source)
    await ends(server)


async def test_a_cancelled_owner_leaves_no_process_behind(raw: Raw, ends: Ends) -> None:
    known: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with open_mcp_servers([raw()]) as [source]:
            known.set_result(await pid_of(source))
            await source.call("hang", {})

    task = asyncio.create_task(hold())
    server = await known
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await ends(server)


async def test_when_our_process_is_killed_the_server_and_its_daemons_end(raw: Raw, ends: Ends) -> None:
    program = (
        "import asyncio, sys\n"
        "from rollway.tools.mcp import McpServer, open_mcp\n"
        "async def main():\n"
        f"    server = McpServer(name='raw', command=sys.executable, args={raw('stubborn').args!r})\n"
        "    source = await open_mcp(server)\n"
        "    for name in ('pid', 'spawn'): print((await source.call(name, {})).content, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    ours = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert ours.stdout is not None
    server, daemon = int(await ours.stdout.readline()), int(await ours.stdout.readline())
    ours.kill()
    await ours.wait()
    await ends(server)
    await ends(daemon)


async def test_a_server_that_never_answers_does_not_start(raw: Raw) -> None:
    with pytest.raises(UserError, match=r"^MCP server 'raw' did not start within 0\.3 s$"):
        await open_mcp(raw("silent", start_timeout=0.3))


async def test_a_start_that_is_cancelled_leaves_nothing_behind(raw: Raw) -> None:
    for moment in (0.0, 0.02, 0.2):
        opening = asyncio.create_task(open_mcp(raw("silent")))
        await asyncio.sleep(moment)
        opening.cancel()
        await asyncio.wait([opening], timeout=60)
        assert opening.cancelled()
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("mcp-")]


async def test_a_server_that_stops_to_read_hangs_neither_calls_nor_the_end(
    raw: Raw, monkeypatch: pytest.MonkeyPatch, within: Within
) -> None:
    monkeypatch.setattr("rollway.tools.mcp.source.PROBE_SECONDS", 0.2)
    monkeypatch.setattr("rollway.tools.mcp.stdio.END_SECONDS", 1000.0)  # its end is not to take what it may
    async with open_mcp_servers([raw()]) as [source]:
        with within(source, call_timeout=0.5):
            frozen = asyncio.create_task(source.call("freeze", {}))
            large = [asyncio.create_task(source.call("echo", {"x": "y" * 100_000})) for _ in range(50)]
            await asyncio.sleep(0)
        outcomes = await asyncio.wait_for(asyncio.gather(frozen, *large, return_exceptions=True), 60)
        told = {str(outcome).removeprefix("MCP server 'raw' ") for outcome in outcomes}
        assert "did not answer within 0.5 s" in told
        assert told <= {"did not answer within 0.5 s", "stopped answering"}
        assert await asyncio.wait_for(pid_of(source), 60)


async def test_a_start_that_fails_closes_the_servers_that_did_start(raw: Raw, ends: Ends) -> None:
    bad = raw("silent", name="bad", start_timeout=1.0)
    with pytest.raises(UserError, match="'bad' did not start"):
        async with open_mcp_servers([raw(), bad]):
            pass
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("mcp-")]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"command": "no-such-program"}, "command 'no-such-program' not found on PATH or beside"),
        ({"command": "/etc/passwd"}, "/etc/passwd is not an executable program"),
        ({"command": "python3", "directory": "/nowhere"}, "no folder /nowhere"),
        (
            {"command": "python3", "env": {"A": "${NOT_SET_HERE}"}},
            "the environment variable 'NOT_SET_HERE' is not set",
        ),
        (
            {"url": "http://x/", "headers": {"A": "${NOT_SET_HERE}"}},
            "the environment variable 'NOT_SET_HERE' is not set",
        ),
    ],
)
def test_what_cannot_be_started_is_one_line_before_anything_starts(fields: Any, told: str) -> None:
    with pytest.raises(UserError, match="^MCP server 'x': " + told):
        check_mcp_servers([McpServer(name="x", **fields)])


@pytest.mark.parametrize(
    ("package", "module", "lacking"),
    [
        ("mcp", None, "no package 'mcp'"),
        ("httpx2", None, "no package 'httpx2'"),
        ("mcp", types.ModuleType("mcp"), "only a package 'mcp' older than 2.0"),
    ],
)
async def test_without_the_extra_one_line_names_it_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, raw: Raw, package: str, module: Any, lacking: str
) -> None:
    monkeypatch.setitem(sys.modules, package, module)
    told = re.escape(f"MCP servers need an extra, and there is {lacking}: pip install 'rollway[mcp]'")
    with pytest.raises(UserError, match=f"^{told}$"):
        check_mcp_servers([raw()])
    with pytest.raises(UserError, match=f"^{told}$"):
        await open_mcp(raw())
    check_mcp_servers([])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "give either a command"),
        ({"command": "a", "url": "http://x/"}, "give either a command"),
        ({"command": ""}, "the command is empty"),
        ({"url": "http://x/", "args": ["a"]}, "args, env and directory require a command"),
        ({"command": "a", "headers": {"a": "b"}}, "headers require a url"),
        ({"url": "ftp://x/"}, "the url must begin with http"),
        ({"command": "a", "call_timeout": 0}, "call_timeout must be positive, got 0"),
    ],
)
def test_fields_that_do_not_go_together_are_one_line(fields: Any, told: str) -> None:
    with pytest.raises(ValueError, match="^MCP server 'x': " + told):
        McpServer(name="x", **fields)


def test_two_servers_of_one_name_are_refused(raw: Raw) -> None:
    with pytest.raises(UserError, match="two MCP servers are named 'raw'"):
        check_mcp_servers([raw(), raw()])


async def test_two_tools_of_one_name_are_one_line_that_names_both_owners(raw: Raw) -> None:
    @tool
    def echo(text: str) -> str:
        return text

    async with open_mcp_servers([raw(), raw(name="other"), raw(name="third", prefix="third_")]) as sources:
        with pytest.raises(
            UserError,
            match="MCP server 'raw' and MCP server 'other' both have a tool named 'pid'; give the server",
        ):
            with_mcp_tools([], sources, "environment 'sums'")
        with pytest.raises(UserError, match=r"environment 'sums' and MCP server 'raw' both have .* 'echo'"):
            with_mcp_tools([echo], sources[:1], "environment 'sums'")
        names = [tool.name for tool in with_mcp_tools([echo], sources[2:], "environment 'sums'")]
        assert names[:3] == ["echo", "third_pid", "third_hang"]


def test_the_package_does_not_shadow_the_sdk_nor_load_it_unasked() -> None:
    import subprocess

    program = (
        "import sys, rollway.tools.mcp; assert 'mcp' not in sys.modules; "
        "import mcp; assert not mcp.__file__.startswith(tuple(rollway.__path__))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
