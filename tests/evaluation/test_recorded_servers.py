"""Replays of runs with MCP servers: the tools are those of the record, and no server is started."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from http_mcp_server import serve_http
from rich.console import Console
from scripted_server import ScriptedRequest, ScriptedServer, reply

from rollway.errors import UserError
from rollway.evaluation import evaluate_async
from rollway.evaluation.config import EvalConfig
from rollway.trajectory import StopReason, Trajectory

RAW = Path(__file__).parents[1] / "tools" / "mcp" / "raw_server.py"
TOKYO = {"timezone": "Asia/Tokyo"}
Config = Callable[..., EvalConfig]


class Servers:
    """Commands of MCP servers, in files that note each start, and that can be taken away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()

    def command(self, name: str, *program: str) -> str:
        """``program`` under a command of our own. It ends at once where there is a file ``fail-N`` for its
        N-th start."""
        file = self.folder / name
        starts = shlex.quote(str(self.folder / "starts"))
        fails = f'test ! -e "$(dirname {starts})/fail-$(wc -l < {starts})" || exit 7'
        file.write_text(f"#!/bin/sh\necho {name} >> {starts}\n{fails}\nexec {shlex.join(program)}\n")
        file.chmod(0o755)
        return str(file)

    def raw(self, name: str = "raw", *flags: str, **fields: Any) -> dict[str, Any]:
        """The section of a server that is ``raw_server.py``."""
        command = self.command(name, sys.executable, "-I", "-S", str(RAW), *flags)
        return {"name": name, "command": command, **fields}

    def clock(self, **fields: Any) -> dict[str, Any]:
        """The section of one that nobody here wrote."""
        beside = str(Path(sys.executable).parent)
        program = shutil.which("mcp-server-time", path=f"{os.environ['PATH']}:{beside}")
        assert program is not None
        command = self.command("time", program)
        return {"name": "time", "command": command, "prefix": "time_", "start_timeout": 100.0, **fields}

    @property
    def starts(self) -> list[str]:
        """The names of all that was started so far."""
        file = self.folder / "starts"
        return file.read_text().split() if file.exists() else []

    def take_away(self) -> None:
        """No command is there any more."""
        for file in self.folder.iterdir():
            if file.name != "starts":
                file.unlink()


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    return Servers(tmp_path / "servers")


@pytest.fixture
def replay_of(config: Config, tmp_path: Path) -> Callable[..., EvalConfig]:
    """The config of a replay of the run in ``run``."""

    def make(server: ScriptedServer, tools: dict[str, Any], **changes: Any) -> EvalConfig:
        tools = {name: value for name, value in tools.items() if name != "record"}
        tools["replay"] = str(tmp_path / "run")
        return config(server, out=str(tmp_path / "again"), tools=tools, **changes)

    return make


def calling(*turns: list[tuple[str, Any]]) -> Callable[[ScriptedRequest], Any]:
    """A policy that makes these calls, and then answers."""

    def policy(request: ScriptedRequest) -> Any:
        turn = sum(message["role"] == "assistant" for message in request.body["messages"])
        return reply(tool_calls=turns[turn]) if turn < len(turns) else reply("done")

    return policy


def results(found: dict[Any, Trajectory]) -> dict[Any, Any]:
    """By rollout, all that its calls were answered."""
    return {
        key: [(r.name, r.content, r.ok) for turn in one.turns for r in turn.tool_results]
        for key, one in found.items()
    }


def offered(server: ScriptedServer) -> dict[tuple[str, int], str]:
    """By task and turn, the tools that the model was shown, to the letter."""
    shown = {}
    for request in server.requests:
        messages = request.body["messages"]
        shown[messages[0]["content"], len(messages)] = json.dumps(request.body["tools"])
    assert len(shown) == len(server.requests)
    return shown


def tool_lists(run: Path) -> list[Path]:
    return sorted((run / "recordings" / "mcp").iterdir())


def lines(run: Path) -> list[dict[str, Any]]:
    parts = sorted((run / "recordings").glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_bytes().splitlines()]


async def test_a_replay_has_the_same_tools_and_results_where_no_server_is_left(
    config: Config,
    replay_of: Config,
    stored: Any,
    servers: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = calling(
        [("time_get_current_time", TOKYO), ("pid", {}), ("own_pid", {})],
        [("time_get_current_time", {"timezone": 3}), ("own_fail", {}), ("die", {}), ("pdi", {})],
    )
    monkeypatch.setenv("WIKI_TOKEN", "a secret")
    own = {"name": "own", "prefix": "own_", "headers": {"X-Who": "${WIKI_TOKEN}"}}
    fields = {"environment_args": {"size": 3}}
    async with ScriptedServer(policy) as recorder, serve_http() as (url, _):
        tools = {
            "mcp": [
                servers.raw("raw", "signed", scope="rollout", tools=["die", "pid"]),
                servers.clock(),
                {**own, "url": url},
            ],
            "record": True,
        }
        assert (await evaluate_async(config(recorder, tools=tools, **fields))).finished == 3
    assert sorted(servers.starts) == ["raw"] * 4 + ["time"]
    servers.take_away()
    monkeypatch.delenv("WIKI_TOKEN")
    async with ScriptedServer(policy) as replayer:
        assert (await evaluate_async(replay_of(replayer, tools, **fields))).finished == 3
    assert len(servers.starts) == 5
    recorded, replayed = stored(tmp_path / "run"), stored(tmp_path / "again")
    assert results(replayed) == results(recorded)
    assert len({content for _, (_, content, _), *_ in results(recorded).values()}) == 3
    for key, trajectory in replayed.items():
        told = {"answered": 7, "refused": 0, "unused": 0, "left_at": None}
        assert trajectory.metadata["replay"] == told
        assert trajectory.tool_errors == recorded[key].tool_errors
    assert offered(replayer) == offered(recorder)
    assert len(set(offered(recorder).values())) == 3, "each rollout's own server says its process id"
    assert all(kept not in b"".join(_files(tmp_path / "run")) for kept in (b"a secret",))


def _files(run: Path) -> list[bytes]:
    return [path.read_bytes() for path in run.rglob("*") if path.is_file()]


async def test_what_a_server_lists_is_kept_once_however_many_rollouts_have_it(
    config: Config, servers: Servers, tmp_path: Path
) -> None:
    tools = {"mcp": [servers.clock(), servers.raw(scope="rollout")], "record": True}
    async with ScriptedServer(calling()) as server:
        await evaluate_async(config(server, samples=2, tools=tools))
    assert servers.starts.count("raw") == 13
    assert len(tool_lists(tmp_path / "run")) == 2
    digests = {path.stem for path in tool_lists(tmp_path / "run")}
    for line in lines(tmp_path / "run"):
        assert list(line["mcp"]) == ["time", "raw"]
        assert set(line["mcp"].values()) == digests
        assert line["calls"] == []
        assert len(json.dumps(line)) < 350


async def test_the_order_of_tools_is_that_of_the_recorded_run(
    config: Config, replay_of: Config, servers: Servers
) -> None:
    mcp = [servers.clock(), servers.raw(scope="rollout")]
    fields = {"environment_args": {"size": 2}}
    async with ScriptedServer(calling()) as recorder:
        await evaluate_async(config(recorder, tools={"mcp": mcp, "record": True}, **fields))
    async with ScriptedServer(calling()) as replayer:
        await evaluate_async(replay_of(replayer, {"mcp": mcp[::-1]}, **fields))
    assert offered(replayer) == offered(recorder)


async def test_rules_and_toolsets_meet_the_same_tools(
    config: Config, replay_of: Config, stored: Any, servers: Servers, tmp_path: Path
) -> None:
    policy = calling([("time_convert_time", {}), ("time_get_current_time", TOKYO), ("todo", {"items": []})])
    tools = {
        "mcp": [servers.clock()],
        "rules": [
            {"tool": "time_convert_time", "allow": False},
            {"tool": "time_get_current_time", "argument": "timezone", "matches": "Asia/*", "allow": False},
        ],
        "sample": {"each": {"todo": 0.5, "submit": 0.5}},
        "record": True,
    }
    async with ScriptedServer(policy) as recorder:
        await evaluate_async(config(recorder, tools=tools))
    servers.take_away()
    async with ScriptedServer(policy) as replayer:
        await evaluate_async(replay_of(replayer, tools))
        replayed = stored(tmp_path / "again")
        for name, told in (("rules", [{"tool": "time_now", "allow": False}]), ("mcp", [servers.clock()])):
            changed = tools | {name: told}
            if name == "mcp":
                changed["mcp"] = [servers.clock(tools=["now"])]
            with pytest.raises(
                UserError, match=r"^[^\n]* (unknown tool 'time_now'|has no tool 'now')[^\n]*$"
            ):
                await evaluate_async(replay_of(replayer, changed))
    assert offered(replayer) == offered(recorder)
    assert len(set(offered(recorder).values())) > 1
    recorded = stored(tmp_path / "run")
    assert results(replayed) == results(recorded)
    assert {key: one.tool_errors for key, one in replayed.items()} == {
        key: one.tool_errors for key, one in recorded.items()
    }
    assert servers.starts == ["time"]


async def test_a_clash_of_names_is_found_before_the_first_rollout_of_a_replay(
    config: Config, replay_of: Config
) -> None:
    async with ScriptedServer(calling()) as server, serve_http() as (url, _):
        own = {"name": "own", "url": url, "prefix": "own_"}
        await evaluate_async(config(server, tools={"mcp": [own], "record": True}))
        asked = len(server.requests)
        with pytest.raises(UserError, match=r"'Sums' and MCP server 'own' both have a tool named 'add'"):
            await evaluate_async(replay_of(server, {"mcp": [own | {"prefix": ""}]}))
        assert len(server.requests) == asked


async def test_servers_that_are_not_those_of_the_recorded_run_are_one_line_before_anything_starts(
    config: Config, replay_of: Config, servers: Servers, tmp_path: Path
) -> None:
    one, two = servers.raw("one"), servers.raw("two", prefix="two_")
    fields = {"tasks": 1}
    async with ScriptedServer(calling()) as server:
        await evaluate_async(config(server, tools={"mcp": [one], "record": True}, **fields))
        servers.take_away()
        asked, started = len(server.requests), servers.starts
        for named, told in [
            ([one, two], r"no tools of MCP server 'two', only those of 'one'; list the same"),
            ([], r"had tools of MCP server 'one'; list it under tools\.mcp"),
            ([one, one], "two MCP servers are named 'one'"),
        ]:
            with pytest.raises(UserError, match=rf"^[^\n]*{told}[^\n]*$"):
                await evaluate_async(replay_of(server, {"mcp": named}, **fields))
        assert not (tmp_path / "again").exists()
        assert (len(server.requests), servers.starts) == (asked, started)
        again = config(server, out=str(tmp_path / "bare"), tools={"record": True}, **fields)
        await evaluate_async(again)
        replay = config(server, tools={"mcp": [one], "replay": str(tmp_path / "bare")}, **fields)
        with pytest.raises(UserError, match="no tools of MCP server 'one', only those of no MCP serv"):
            await evaluate_async(replay)


async def test_a_record_without_the_tools_of_its_servers_has_them_started_and_says_so(
    config: Config, replay_of: Config, stored: Any, servers: Servers, tmp_path: Path
) -> None:
    policy = calling([("pid", {})])
    tools = {"mcp": [servers.raw()], "record": True}
    async with ScriptedServer(policy) as server:
        await evaluate_async(config(server, tools=tools, tasks=2))
        part = tmp_path / "run" / "recordings" / "part-00000.jsonl"
        part.write_bytes(re.sub(rb',"mcp":\{[^}]*\}', b"", part.read_bytes()))
        assert b"mcp" not in part.read_bytes()
        console = Console(file=io.StringIO(), width=60)
        await evaluate_async(replay_of(server, tools, tasks=2), console=console)
    assert servers.starts == ["raw", "raw"]
    assert results(stored(tmp_path / "again")) == results(stored(tmp_path / "run"))
    for told in (console.file.getvalue(), (tmp_path / "again" / "log.txt").read_text()):  # type: ignore[attr-defined]
        assert told.count("the servers are started to list tools") == 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (Path.unlink, r"mcp/[0-9a-f]{32}\.json is missing: it holds the tools of an MCP server"),
        (lambda path: path.write_bytes(b"[]"), r"json is not the stored list of tools"),
    ],
)
async def test_a_list_of_tools_that_is_lost_or_changed_is_one_line_before_the_first_rollout(
    config: Config,
    replay_of: Config,
    servers: Servers,
    tmp_path: Path,
    spoil: Callable[[Path], Any],
    told: str,
) -> None:
    tools = {"mcp": [servers.raw()], "record": True}
    async with ScriptedServer(calling()) as server:
        await evaluate_async(config(server, tools=tools, tasks=2))
        asked = len(server.requests)
        (file,) = tool_lists(tmp_path / "run")
        spoil(file)
        with pytest.raises(UserError, match=rf"^[^\n]*{told}[^\n]*$"):
            await evaluate_async(replay_of(server, tools, tasks=2))
        assert len(server.requests) == asked


async def test_a_rollout_that_failed_before_its_server_was_there_fails_in_the_replay_too(
    config: Config, replay_of: Config, stored: Any, servers: Servers, tmp_path: Path
) -> None:
    raw = servers.raw(scope="rollout")
    (servers.folder / "fail-3").touch()
    tools = {"mcp": [raw], "record": True}
    policy = calling([("pid", {})])
    async with ScriptedServer(policy) as server:
        summary = await evaluate_async(config(server, tools=tools, tasks=3, concurrency=1))
        assert (summary.asked, summary.failed) == (3, 1)
        servers.take_away()
        summary = await evaluate_async(replay_of(server, tools, tasks=3))
        assert (summary.asked, summary.failed) == (3, 1)
    recorded, replayed = stored(tmp_path / "run"), stored(tmp_path / "again")
    assert results(replayed) == results(recorded)
    (failed,) = [one for one in replayed.values() if one.stop_reason is StopReason.ENVIRONMENT_ERROR]
    assert failed.error is not None
    assert "ended before MCP server 'raw' had listed its tools" in failed.error.message
    assert recorded[failed.task_id, 0].stop_reason is StopReason.ENVIRONMENT_ERROR


@pytest.mark.timeout(1200)  # Ray takes seconds to start, and many more on a busy machine
async def test_through_ray_lists_reach_the_record_and_every_worker_of_the_replay(
    ray_cluster: Any, config: Config, replay_of: Config, stored: Any, servers: Servers, tmp_path: Path
) -> None:
    policy = calling([("time_get_current_time", TOKYO), ("pid", {})])
    tools = {"mcp": [servers.clock(), servers.raw("raw", "signed", scope="rollout")], "record": True}
    ray = {"workers": 2, "concurrency": 2, "ray": {"cpus_per_worker": 0}}
    async with ScriptedServer(policy) as recorder, ScriptedServer(policy) as replayer:
        record = config(recorder, tools=tools, **ray)
        assert (await asyncio.wait_for(evaluate_async(record), 500)).finished == 6
        assert len(tool_lists(tmp_path / "run")) == 1 + 6
        servers.take_away()
        started = servers.starts
        replay = replay_of(replayer, tools, **ray)
        assert (await asyncio.wait_for(evaluate_async(replay), 500)).finished == 6
    assert servers.starts == started
    assert results(stored(tmp_path / "again")) == results(stored(tmp_path / "run"))
    assert offered(replayer) == offered(recorder)
