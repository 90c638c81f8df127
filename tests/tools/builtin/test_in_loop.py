"""The built-in tools in a whole rollout, with a model that is a script."""

from __future__ import annotations

import pytest
from scripted_server import ScriptedServer, reply

from rollway import AgentLoop, Limits, ToolPool, Trajectory
from rollway.inference import ChatClient
from rollway.tools.builtin import TOOLSETS, builtin_tools, submitted_answer
from rollway.tools.context import RolloutContext
from rollway.tools.sandboxes import Sandbox
from rollway.trajectory import StopReason

Calls = list[tuple[str, dict[str, object]]]


@pytest.fixture
async def context(sandbox: Sandbox) -> RolloutContext:
    return RolloutContext(sandbox=sandbox)


async def rolled_out(
    context: RolloutContext, *turns: Calls, timeout: float = 60.0, tool_timeout: float | None = None
) -> Trajectory:
    script = [*(reply(tool_calls=calls) for calls in turns), reply(content="done")]
    async with ScriptedServer(script) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(8) as pool:
                tools = builtin_tools(TOOLSETS, timeout=timeout)
                limits = Limits(tool_timeout=tool_timeout or timeout + 5)
                loop = AgentLoop(client, tools=tools, pool=pool, limits=limits)
                return await loop.run([{"role": "user", "content": "?"}], context=context)


def results(trajectory: Trajectory) -> list[str]:
    return [result.content for turn in trajectory.turns for result in turn.tool_results]


async def test_the_terminal_keeps_its_state_from_turn_to_turn(context: RolloutContext) -> None:
    trajectory = await rolled_out(
        context,
        [("terminal", {"command": "mkdir work; cd work; x=5"})],
        [("terminal", {"command": "basename $PWD; echo $x"})],
    )
    assert results(trajectory) == ["[exit code 0]", "work\n5\n[exit code 0]"]
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert trajectory.tool_errors == []


async def test_all_tools_work_in_one_workspace_and_the_answer_ends_the_rollout(
    context: RolloutContext,
) -> None:
    trajectory = await rolled_out(
        context,
        [("todo", {"add": ["mend it"]}), ("write_file", {"path": "sum.py", "content": "print(2 + 2 + 2)\n"})],
        [("edit_file", {"path": "sum.py", "old": "2 + 2 + 2", "new": "2 + 2"})],
        [("terminal", {"command": "python3 sum.py"}), ("python", {"code": "import sum"})],
        [("search_files", {"pattern": "print"}), ("read_file", {"path": "sum.py"})],
        [("submit", {"answer": 4})],
    )
    assert results(trajectory) == [
        "1. [ ] mend it",
        "Wrote sum.py: 1 line, 17 bytes.",
        "Edited sum.py at line 1.",
        "4\n[exit code 0]",
        "4",
        "sum.py:1: print(2 + 2)",
        "print(2 + 2)",
        "Submitted.",
    ]
    assert trajectory.stop_reason is StopReason.TOOL_STOPPED
    assert submitted_answer(trajectory) == "4"


async def test_a_hanging_command_costs_its_call_and_not_the_rollout(context: RolloutContext) -> None:
    trajectory = await rolled_out(
        context,
        [
            ("terminal", {"command": "while :; do :; done", "timeout": 1}),
            ("terminal", {"command": "echo second", "timeout": 1}),
        ],
        [("terminal", {"command": "echo third"})],
    )
    first, second, third = results(trajectory)
    assert "killed with its shell" in first
    assert second.startswith("Not run")
    assert third == "third\n[exit code 0]"
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert len(trajectory.tool_errors) == 2


async def test_a_command_is_killed_in_good_time_before_the_engine_would_give_the_call_up(
    context: RolloutContext,
) -> None:
    killed, code, after = results(
        await rolled_out(
            context,
            [
                ("terminal", {"command": "x=5; echo begun; sleep 600"}),
                ("python", {"code": "print('begun', flush=True)\nimport time; time.sleep(600)"}),
            ],
            [("terminal", {"command": "echo $x"})],
            timeout=45.0,
            tool_timeout=8.0,
        )
    )
    assert "begun" in killed
    assert "did not finish within 4 s; the shell continues" in killed
    assert after == "5\n[exit code 0]"
    assert "begun" in code
    assert "did not finish within 4 s" in code
