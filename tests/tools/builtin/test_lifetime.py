"""Shells and interpreters end with their sandbox and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from rollway.tools import ExecutedCall, Tool, ToolPool, ToolRegistry, execute_call
from rollway.tools.builtin import python_tool, terminal_tool
from rollway.tools.context import Notes, RolloutContext
from rollway.tools.sandboxes import Sandbox, SandboxSpec, open_sandbox
from rollway.trajectory import ToolCall, ToolErrorKind

Execute = Callable[..., Awaitable[ExecutedCall]]
Becomes = Callable[[Callable[[], bool]], Awaitable[None]]
BOTH = pytest.mark.parametrize(
    ("tool", "quick", "endless"),
    [
        (terminal_tool(timeout=100), {"command": "echo hi"}, {"command": "touch begun; sleep 300"}),
        (
            python_tool(timeout=100),
            {"code": "print('hi')"},
            {"code": "open('begun', 'w')\nimport time; time.sleep(300)"},
        ),
    ],
    ids=["terminal", "python"],
)


@BOTH
async def test_closing_the_sandbox_leaves_no_task_on_the_loop(
    execute: Execute,
    sandbox: Sandbox,
    becomes: Becomes,
    tool: Tool,
    quick: dict[str, str],
    endless: dict[str, str],
) -> None:
    assert (await execute(tool, **quick)).result.content.startswith("hi")
    await sandbox.close()
    await becomes(lambda: not [task for task in asyncio.all_tasks() if "LiveProcess" in repr(task)])


@BOTH
async def test_a_sandbox_without_the_program_is_told_as_that(
    pool: ToolPool, tool: Tool, quick: dict[str, str], endless: dict[str, str]
) -> None:
    bare = await open_sandbox(SandboxSpec(backend="local", environment={"PATH": "/nowhere"}))
    call = ToolCall("1", tool.name, json.dumps(quick))
    done = await execute_call(
        call, registry=ToolRegistry([tool]), pool=pool, turn=1, context=RolloutContext(sandbox=bare)
    )
    await bare.close()
    assert done.error is not None
    assert done.error.kind is ToolErrorKind.SANDBOX
    assert "which this tool needs" in done.result.content


@BOTH
async def test_a_program_that_ends_like_a_missing_one_is_no_fault_of_the_sandbox(
    execute: Execute, tool: Tool, quick: dict[str, str], endless: dict[str, str]
) -> None:
    ended = await execute(tool, command="exit 127") if tool.name == "terminal" else None
    ended = ended or await execute(tool, code="import os; os._exit(127)")
    assert "with exit code 127" in ended.result.content


@BOTH
async def test_a_sandbox_that_is_closed_during_a_call_is_told_as_that(
    execute: Execute, sandbox: Sandbox, tool: Tool, quick: dict[str, str], endless: dict[str, str]
) -> None:
    running = asyncio.ensure_future(execute(tool, **endless))
    while (await sandbox.exec(["test", "-e", "begun"])).exit_code:
        await asyncio.sleep(0.01)
    await sandbox.close()
    async with asyncio.timeout(60):
        done = await running
    assert done.error is not None
    assert done.error.kind is ToolErrorKind.SANDBOX
    again = await execute(tool, **quick)
    assert again.error is not None
    assert again.error.kind is ToolErrorKind.SANDBOX


@BOTH
async def test_a_cancelled_call_takes_what_it_had_started_with_it(
    execute: Execute, sandbox: Sandbox, tool: Tool, quick: dict[str, str], endless: dict[str, str]
) -> None:
    running = asyncio.ensure_future(execute(tool, **endless))
    while (await sandbox.exec(["test", "-e", "begun"])).exit_code:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    after = (await execute(tool, **quick)).result.content
    assert after.startswith("hi")
    assert "was gone: this is a new one" in after
    assert "gone" not in (await execute(tool, **quick)).result.content


@BOTH
async def test_two_rollouts_share_nothing(
    execute: Execute, context: RolloutContext, tool: Tool, quick: dict[str, str], endless: dict[str, str]
) -> None:
    kept = {"command": "x=5"} if "command" in quick else {"code": "x = 5"}
    shown = {"command": "echo [$x]"} if "command" in quick else {"code": "'x' in globals()"}
    await execute(tool, **kept)
    context.notes = Notes()
    assert (await execute(tool, **shown)).result.content.split("\n")[0] in ("[]", "False")
