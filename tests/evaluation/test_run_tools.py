"""What a run adds to an environment's tools, what it forbids, and what it records."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted_server import ScriptedRequest, ScriptedServer, reply

from rollway.errors import UserError
from rollway.evaluation.conclusion import RunFailed
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run import evaluate_async
from rollway.scoring import score_run
from rollway.trajectory import StopReason, ToolErrorKind, Trajectory

COUNTING = '''
from pathlib import Path

from rollway import Environment, tool
from rollway.tools.sandboxes import SandboxSpec


@tool
def count() -> int:
    """Count up, in a file outside of every rollout."""
    with Path(__file__).with_name("counter").open("a") as counter:
        counter.write("|")
        return counter.tell()


async def written(trajectory, task, sandbox):
    return (await sandbox.exec("cat made.txt")).stdout == b"by the policy"


class Counting(Environment):
    tools = [count]
    rewards = [written]
    sandbox = SandboxSpec(backend="local")

    def tasks(self, split):
        return [{"task_id": f"task {n}"} for n in range(3)]

    def prompt(self, task):
        return [{"role": "user", "content": task["task_id"]}]
'''


def count_write_answer(request: ScriptedRequest) -> dict[str, Any]:
    messages = request.body["messages"]
    calls = [("count", {}), ("terminal", {"command": "printf 'by the policy' > made.txt; echo $RANDOM"})]
    turn = sum(message["role"] == "assistant" for message in messages)
    return reply(tool_calls=[calls[turn]]) if turn < len(calls) else reply("done")


def other_path(request: ScriptedRequest) -> dict[str, Any]:
    messages = request.body["messages"]
    if len(messages) == 1:
        return reply(tool_calls=[("count", {}), ("count", {})])
    return reply("done")


@pytest.fixture
def counting_file(tmp_path: Path) -> Path:
    file = tmp_path / "counting.py"
    file.write_text(COUNTING)
    return file


def rewrite(file: Path, *changes: tuple[str, str]) -> None:
    source = COUNTING
    for change in changes:
        source = source.replace(*change)
    file.write_text(source)


NO_SANDBOX = ("    sandbox = SandboxSpec", "    was = SandboxSpec")


def results(trajectory: Trajectory) -> list[tuple[str, str, bool]]:
    return [(r.name, r.content, r.ok) for turn in trajectory.turns for r in turn.tool_results]


async def test_a_replay_gives_the_same_results_call_by_call_and_runs_no_tool(
    config: Callable[..., EvalConfig], stored: Any, counting_file: Path, tmp_path: Path
) -> None:
    environment = {"environment": str(counting_file), "samples": 2}
    async with ScriptedServer(count_write_answer) as server:
        first = config(server, **environment, tools={"add": ["terminal"], "record": True})
        assert (await evaluate_async(first)).scored == 6
        recorded = stored(tmp_path / "run")
        counter = counting_file.with_name("counter")
        assert counter.read_text() == "|" * 6
        again = config(
            server,
            **environment,
            out=str(tmp_path / "again"),
            tools={"add": ["terminal"], "replay": str(tmp_path / "run")},
        )
        assert (await evaluate_async(again)).scored == 6
    replayed = stored(tmp_path / "again")
    assert counter.read_text() == "|" * 6
    assert {key: results(one) for key, one in replayed.items()} == {
        key: results(one) for key, one in recorded.items()
    }
    for key, trajectory in replayed.items():
        assert trajectory.metadata["replay"] == {"answered": 2, "refused": 0, "unused": 0, "left_at": None}
        assert trajectory.rewards == recorded[key].rewards == {"written": 1.0}


async def test_a_replay_says_where_a_rollout_left_the_record(
    config: Callable[..., EvalConfig], stored: Any, counting_file: Path, tmp_path: Path
) -> None:
    environment = {"environment": str(counting_file), "tasks": 1}
    async with ScriptedServer(count_write_answer) as server:
        await evaluate_async(config(server, **environment, tools={"add": ["terminal"], "record": True}))
    async with ScriptedServer(other_path) as server:
        tools = {"add": ["terminal"], "replay": str(tmp_path / "run")}
        with pytest.raises(Exception, match="scored"):  # the sandbox that it would have left is not known
            await evaluate_async(config(server, **environment, out=str(tmp_path / "again"), tools=tools))
    (trajectory,) = stored(tmp_path / "again").values()
    assert counting_file.with_name("counter").read_text() == "|"
    assert trajectory.metadata["replay"]["left_at"] == {
        "turn": 1,
        "call": 2,
        "expected": None,
        "got": {"name": "count", "arguments": "{}"},
    }
    assert trajectory.error is not None
    assert trajectory.error.kind == "NoSandbox"
    assert trajectory.tool_errors[0].kind is ToolErrorKind.NOT_ALLOWED


async def test_a_recorded_run_is_scored_again_in_the_sandboxes_that_it_left(
    config: Callable[..., EvalConfig], counting_file: Path, tmp_path: Path
) -> None:
    async with ScriptedServer(count_write_answer) as server:
        tools = {"add": ["terminal"], "record": True}
        await evaluate_async(config(server, environment=str(counting_file), tools=tools))
    summary = await asyncio.to_thread(score_run, tmp_path / "run")
    assert (summary.scored, summary.rewards["written"].mean) == (3, 1.0)


async def test_a_run_that_kept_no_sandboxes_is_refused_by_such_rewards_in_one_line(
    config: Callable[..., EvalConfig], counting_file: Path, tmp_path: Path
) -> None:
    async with ScriptedServer(count_write_answer) as server:
        await evaluate_async(config(server, environment=str(counting_file), tools={"add": ["terminal"]}))
    with pytest.raises(UserError, match=r"'written' needs the sandbox .* has no recordings"):
        await asyncio.to_thread(score_run, tmp_path / "run")


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ({"add": ["termnal"]}, "unknown built-in tool or toolset 'termnal' (did you mean 'terminal'?)"),
        ({"replay": "nowhere"}, "no run directory"),
        ({"mcp": [{"name": "x", "command": "no-such-program"}]}, "command 'no-such-program' not found"),
        ({"approval": {"ask": "asks.py:approve"}}, "tools.approval.ask: cannot read"),
        (
            {"rules": [{"tool": "count", "argument": "path", "matches": "*", "allow": False}]},
            "tools: rules[0]",
        ),
    ],
)
async def test_a_mistake_in_the_tools_is_one_line_before_the_first_rollout(
    config: Callable[..., EvalConfig], counting_file: Path, tools: dict[str, Any], expected: str
) -> None:
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError) as error:
            await evaluate_async(config(server, environment=str(counting_file), tools=tools))
        assert server.requests == []
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def submitting_file(counting_file: Path) -> Path:
    counting_file.write_text(COUNTING.replace("def count()", "def submit()").replace("[count]", "[submit]"))
    return counting_file


async def test_a_toolset_with_a_tool_of_the_environments_name_is_refused_before_the_first_rollout(
    config: Callable[..., EvalConfig], submitting_file: Path
) -> None:
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError, match="both have a tool named 'submit'"):
            await evaluate_async(
                config(server, environment=str(submitting_file), tools={"add": ["submit"]}),
            )


async def test_a_toolset_that_a_shipped_environment_has_is_refused_before_the_first_rollout(
    config: Callable[..., EvalConfig],
) -> None:
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError, match="both have a tool named 'terminal'"):
            await evaluate_async(
                config(
                    server,
                    environment="python_code",
                    sandbox={"backend": "local"},
                    tools={"add": ["terminal"]},
                ),
            )


async def test_an_approval_function_edits_and_denies_and_both_are_on_record(
    config: Callable[..., EvalConfig], stored: Any, counting_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "asks.py").write_text(
        "from rollway.tools.approval import Approved, Denied\n\n\n"
        "def approve(request):\n"
        "    if request.tool == 'count':\n"
        "        return Denied('No counting today.')\n"
        "    return Approved({'command': request.arguments['command'].replace('policy', 'user')})\n"
    )
    tools = {"add": ["terminal"], "approval": {"ask": str(tmp_path / "asks.py:approve")}}
    async with ScriptedServer(count_write_answer) as server:
        await evaluate_async(config(server, environment=str(counting_file), tasks=1, tools=tools))
    (trajectory,) = stored(tmp_path / "run").values()
    assert [error.kind for error in trajectory.tool_errors] == [ToolErrorKind.DENIED]
    assert trajectory.turns[0].tool_results[0].content == "No counting today."
    edited = trajectory.turns[1].tool_results[0].edited_arguments
    assert edited is not None
    assert "by the user" in edited
    assert "by the policy" in trajectory.turns[1].tool_calls[0].arguments
    assert trajectory.rewards == {"written": 0.0}
    assert not counting_file.with_name("counter").exists()


async def test_toolsets_are_drawn_once_for_all_samples_of_a_task(
    config: Callable[..., EvalConfig], stored: Any, counting_file: Path, tmp_path: Path
) -> None:
    tools = {"sample": {"each": {"files": 0.5, "terminal": 0.5, "todo": 0.5}}}
    async with ScriptedServer(lambda request: reply("done")) as server:
        fields = {"environment": str(counting_file), "samples": 3, "groups": True}
        await evaluate_async(config(server, **fields, tools=tools))
        seen = {
            request.body["messages"][0]["content"]: [
                tool["function"]["name"] for tool in request.body["tools"]
            ]
            for request in server.requests
        }
    drawn: dict[str, set[tuple[str, ...]]] = {}
    for trajectory in stored(tmp_path / "run").values():
        drawn.setdefault(trajectory.task_id, set()).add(tuple(trajectory.metadata["toolsets"]))
    assert all(len(sets) == 1 for sets in drawn.values())
    assert len({next(iter(sets)) for sets in drawn.values()}) > 1
    for task_id, sets in drawn.items():
        assert ("terminal" in next(iter(sets))) == ("terminal" in seen[task_id])


@pytest.mark.parametrize(
    ("tools", "shown"),
    [
        ({}, {True}),
        ({"add": ["todo", "http_get"]}, {True}),
        ({"sample": {"each": {"http_get": 0.5, "todo": 1.0}}}, {True, False}),
    ],
)
async def test_the_web_is_there_for_its_hosts_and_by_chance_where_it_is_drawn(
    config: Callable[..., EvalConfig], counting_file: Path, tools: dict[str, Any], shown: set[bool]
) -> None:
    rewrite(counting_file, ("range(3)", "range(12)"))
    tools = {**tools, "http_hosts": ["example.com"]}
    async with ScriptedServer(lambda request: reply("done")) as server:
        await evaluate_async(config(server, environment=str(counting_file), tools=tools))
        names = [{tool["function"]["name"] for tool in request.body["tools"]} for request in server.requests]
    assert {"http_get" in each for each in names} == shown


async def test_a_rule_of_the_run_refuses_a_call(
    config: Callable[..., EvalConfig], stored: Any, counting_file: Path, tmp_path: Path
) -> None:
    rules = [{"tool": "terminal", "argument": "command", "matches": "*made.txt*", "allow": False}]
    async with ScriptedServer(count_write_answer) as server:
        tools = {"add": ["terminal"], "rules": rules}
        await evaluate_async(config(server, environment=str(counting_file), tasks=1, tools=tools))
    (trajectory,) = stored(tmp_path / "run").values()
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert [error.kind for error in trajectory.tool_errors] == [ToolErrorKind.NOT_ALLOWED]
    assert trajectory.reward == 0.0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"tools": {"rules": [{"tool": "cuont", "allow": False}]}},
            "unknown tool 'cuont' (did you mean 'count'?)",
        ),
        ({"tools": {"rules": [{"allow": False}]}}, "rules forbid all tools of count"),
        (
            {"tools": {"approval": {"rules": [{"tool": "cuont", "decide": "deny"}], "default": "allow"}}},
            "approval.rules[0]: unknown tool 'cuont'",
        ),
        (
            {
                "tools": {
                    "approval": {
                        "rules": [{"tool": "count", "argument": "n", "matches": "*", "decide": "deny"}],
                        "default": "allow",
                    }
                }
            },
            "approval.rules[0]: 'count' has no argument 'n'",
        ),
        ({"tools": {"approval": {"ask": "asks.py"}}}, "give it as path/to/file.py:function, not"),
        ({"sandbox": {"image": "python:3.11"}}, "sandbox.image requires docker or podman, not local"),
    ],
)
async def test_a_setting_that_would_do_nothing_is_refused_before_the_first_rollout(
    config: Callable[..., EvalConfig], counting_file: Path, fields: dict[str, Any], expected: str
) -> None:
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError) as error:
            await evaluate_async(config(server, environment=str(counting_file), **fields))
        assert server.requests == []
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


async def test_a_rule_may_name_what_only_some_rollouts_draw(
    config: Callable[..., EvalConfig], counting_file: Path
) -> None:
    tools = {
        "sample": {"each": {"todo": 0.5}, "may_be_empty": True},
        "rules": [{"tool": "todo", "allow": False}],
    }
    async with ScriptedServer(lambda request: reply("done")) as server:
        summary = await evaluate_async(config(server, environment=str(counting_file), tools=tools))
    assert summary.scored == 3


async def test_an_approval_function_that_cannot_be_called_is_refused_before_the_first_rollout(
    config: Callable[..., EvalConfig], counting_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "asks.py").write_text("def approve():\n    return None\n")
    tools = {"approval": {"ask": str(tmp_path / "asks.py:approve")}}
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError, match=r"'approve' in .* must take one argument, an ApprovalRequest"):
            await evaluate_async(config(server, environment=str(counting_file), tools=tools))


@pytest.mark.parametrize(
    ("change", "fields", "expected"),
    [
        (NO_SANDBOX, {}, "reward 'written' needs a sandbox"),
        (
            ("def count()", "def count(box: Sandbox)"),
            {},
            "tool 'count' needs a sandbox, and environment 'Counting' has none: add --sandbox",
        ),
        (("[written]", "[]"), {"sandbox": {"network": True}}, "sandbox.network is for a sandbox"),
        (("[count]", "[len]"), {"sandbox": {"backend": "local"}}, "decorate the functions with @tool"),
    ],
)
async def test_what_needs_a_sandbox_is_refused_before_the_first_rollout_where_there_is_none(
    config: Callable[..., EvalConfig],
    counting_file: Path,
    change: tuple[str, str],
    fields: dict[str, Any],
    expected: str,
) -> None:
    rewrite(counting_file, ("import SandboxSpec", "import Sandbox, SandboxSpec"), NO_SANDBOX, change)
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError) as error:
            await evaluate_async(config(server, environment=str(counting_file), **fields))
        assert server.requests == []
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("tools = [count]", "tools = count"), "its tools is Tool("),
        (("tools = [count]", "tools = None"), "its tools is None; it must be a list of tools"),
        (("tools = [count]", "tools = [len]"), "its tools holds <built-in function len>; it must hold tools"),
        (("tools = [count]", "toolsets = ['a']"), "its toolsets is ['a']; it must be a dict"),
        (("tools = [count]", "toolsets = {'a': ['terminal']}"), "its toolsets['a'] holds 'terminal'"),
        (("[written]", "written"), "its rewards is <bound method"),
        (("[written]", "[3]"), "its rewards holds 3; it must hold functions"),
        (
            ('backend="local"', "limits={'memory': 1}"),
            "its sandbox.limits is {'memory': 1}; it must be SandboxLim",
        ),
        (('backend="local"', "mounts=['/data']"), "its sandbox.mounts holds '/data'; it must hold Mount("),
        (('backend="local"', "network='yes'"), "its sandbox: Expected `bool`, got `str`"),
    ],
)
async def test_an_attribute_of_the_wrong_type_is_one_line_before_the_first_rollout(
    config: Callable[..., EvalConfig], counting_file: Path, change: tuple[str, str], expected: str
) -> None:
    rewrite(counting_file, change)
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError) as error:
            await evaluate_async(config(server, environment=str(counting_file)))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


async def test_a_sandbox_that_is_no_spec_is_refused_before_the_first_rollout(
    config: Callable[..., EvalConfig], counting_file: Path
) -> None:
    rewrite(counting_file, ('SandboxSpec(backend="local")', '"local"'))
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError, match="its sandbox is 'local'; it must be a SandboxSpec"):
            await evaluate_async(config(server, environment=str(counting_file)))


async def test_a_replay_needs_no_sandbox_where_no_reward_looks_into_it(
    config: Callable[..., EvalConfig], counting_file: Path, tmp_path: Path
) -> None:
    rewrite(counting_file, ("[written]", "[]"))
    fields = {"environment": str(counting_file), "sandbox": {"backend": "local"}}
    async with ScriptedServer(count_write_answer) as server:
        await evaluate_async(config(server, **fields, tools={"add": ["terminal"], "record": True}))
        tools = {"add": ["terminal"], "replay": str(tmp_path / "run")}
        rewrite(counting_file, ("[written]", "[]"), NO_SANDBOX)
        summary = await evaluate_async(
            config(server, environment=str(counting_file), tools=tools, out=str(tmp_path / "again"))
        )
    assert summary.finished == 3


async def test_a_replay_of_another_environments_run_is_refused_before_the_first_rollout(
    config: Callable[..., EvalConfig], counting_file: Path, tmp_path: Path
) -> None:
    rewrite(other := tmp_path / "other.py", ("class Counting", "class Other"))
    async with ScriptedServer(count_write_answer) as server:
        await evaluate_async(config(server, environment=str(counting_file), tools={"record": True}))
        fields = {"tools": {"replay": str(tmp_path / "run")}, "out": str(tmp_path / "again")}
        with pytest.raises(UserError, match="is a run of environment 'Counting', not of 'Other'"):
            await evaluate_async(config(server, environment=str(other), **fields))
        with pytest.raises(UserError, match="recorded split 'test', not 'train'; set split to that"):
            await evaluate_async(config(server, environment=str(counting_file), split="train", **fields))


async def test_a_run_whose_server_of_tools_does_not_start_leaves_no_directory(
    config: Callable[..., EvalConfig], counting_file: Path, tmp_path: Path
) -> None:
    tools = {"mcp": [{"name": "gone", "command": "true"}]}
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(UserError, match="MCP server 'gone' ended with exit code 0"):
            await evaluate_async(config(server, environment=str(counting_file), tools=tools))
    assert not (tmp_path / "run").exists()


async def test_a_local_sandbox_is_called_no_boundary_once_on_the_screen_and_in_the_log(
    config: Callable[..., EvalConfig], counting_file: Path, tmp_path: Path
) -> None:
    console = Console(file=io.StringIO())
    async with ScriptedServer(count_write_answer) as server:
        await evaluate_async(config(server, environment=str(counting_file)), console=console)
    for told in (console.file.getvalue(), (tmp_path / "run" / "log.txt").read_text()):  # type: ignore[attr-defined]
        assert told.count("not a security boundary") == 1


async def test_a_run_without_a_score_ends_with_what_its_last_rollout_failed_of(
    config: Callable[..., EvalConfig], counting_file: Path
) -> None:
    rewrite(counting_file, ("def prompt", "async def setup(self, task):\n        1 / 0\n\n    def prompt"))
    async with ScriptedServer(count_write_answer) as server:
        with pytest.raises(RunFailed, match=r"last error: ZeroDivisionError: division by zero; see "):
            await evaluate_async(config(server, environment=str(counting_file), attempts=1))
