"""Whose fault a failed call is: the machine's, its sandbox's, or the policy's own."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from typing import Any

import pytest

from rollway.tools import RolloutContext, Tool, ToolFailed, ToolPool, ToolRegistry, execute_call, tool
from rollway.tools.execution import ExecutedCall
from rollway.tools.machine_faults import EXHAUSTED
from rollway.tools.sandboxes import Sandbox, SandboxError, SandboxLimitReached, SandboxSpec, open_sandbox
from rollway.tools.sandboxes.link import Link
from rollway.trajectory import ToolCall, ToolErrorKind


async def called(one: Tool, sandbox: Any = None) -> ExecutedCall:
    with ToolPool(2) as pool:
        return await execute_call(
            ToolCall("1", one.name, "{}"),
            registry=ToolRegistry([one]),
            pool=pool,
            turn=1,
            timeout=20,
            context=RolloutContext("rollout", {}, None, sandbox),
        )


class Closed:
    """A sandbox of which nothing is left."""

    closed = True


class Open:
    """A sandbox that goes on."""

    closed = False


def raising(error: BaseException) -> Tool:
    @tool
    def failing() -> str:
        """Fails."""
        raise error

    return failing


@pytest.mark.parametrize("number", sorted(EXHAUSTED))
async def test_a_machine_that_has_run_out_is_not_the_policys_fault(number: int) -> None:
    answered = await called(raising(OSError(number, os.strerror(number))))
    assert answered.machine_fault is not None
    assert (answered.machine_fault.kind, answered.machine_fault.where) == ("OSError", "tools")
    assert os.strerror(number) in answered.machine_fault.message
    assert not answered.result.ok


async def test_what_a_tool_made_of_an_exhausted_machine_is_still_the_machines() -> None:
    @tool
    def fetch() -> str:
        """Fails in words of its own."""
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError as error:
            raise ToolFailed("Error: no connection") from error

    answered = await called(fetch)
    assert answered.machine_fault is not None
    assert "Too many open files" in answered.machine_fault.message


async def test_a_process_tool_tells_that_its_machine_has_run_out() -> None:
    @tool(process=True)
    def save() -> str:
        """Fails."""
        raise OSError(errno.ENOSPC, "No space left on device")

    answered = await called(save)
    assert answered.machine_fault is not None
    assert answered.machine_fault.kind == "OSError"


async def test_a_thread_that_cannot_start_is_the_machines() -> None:
    answered = await called(raising(RuntimeError("can't start new thread")))
    assert answered.machine_fault is not None


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "no such file"), ValueError("x"), RuntimeError("x"), MemoryError()],
)
async def test_other_errors_of_a_tool_are_told_to_the_model(error: BaseException) -> None:
    answered = await called(raising(error), Closed())
    assert answered.machine_fault is None
    assert answered.error is not None
    assert answered.error.kind is ToolErrorKind.EXCEPTION


async def test_a_lost_sandbox_is_not_the_policys_fault() -> None:
    answered = await called(raising(SandboxError("the sandbox is gone")), Closed())
    assert answered.machine_fault is not None
    assert (answered.machine_fault.where, answered.machine_fault.message) == (
        "sandbox",
        "the sandbox is gone",
    )


async def test_a_request_that_failed_in_a_sandbox_that_goes_on_is_told_to_the_model() -> None:
    answered = await called(raising(SandboxError("the process has ended")), Open())
    assert answered.machine_fault is None
    assert answered.error is not None
    assert answered.error.kind is ToolErrorKind.SANDBOX


async def test_a_sandbox_that_its_commands_have_ended_is_the_policys() -> None:
    answered = await called(raising(SandboxLimitReached("its memory is used up")), Closed())
    assert answered.machine_fault is None
    assert "its memory is used up" in answered.result.content


async def test_a_link_that_is_lost_tells_which_limit_its_sandbox_ran_into() -> None:
    link = Link()
    link.limit_reached = lambda: "its commands used up its memory"
    link.connection_lost(None)
    with pytest.raises(SandboxLimitReached, match="used up its memory"):
        link.tell("read")


async def test_a_sandbox_that_is_closed_ran_into_no_limit() -> None:
    link = Link()
    link.limit_reached = lambda: "its commands used up its memory"
    link.lose("the sandbox is closed", by_us=True)
    with pytest.raises(SandboxError) as raised:
        link.tell("read")
    assert not isinstance(raised.value, SandboxLimitReached)


async def test_a_sandbox_whose_agent_is_killed_in_the_middle_is_lost() -> None:
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    # The parent of a command is its supervisor, whose parent is the agent.
    agent = int((await sandbox.exec("cut -d' ' -f4 /proc/$PPID/stat")).stdout)

    @tool
    async def work(sandbox: Sandbox) -> str:
        """Runs a command whose sandbox is ended."""
        running = asyncio.ensure_future(sandbox.exec("sleep 60", timeout=30))
        await asyncio.sleep(0)
        os.kill(agent, signal.SIGKILL)
        await running
        return "done"

    try:
        answered = await called(work, sandbox)
    finally:
        await sandbox.close()
    assert answered.machine_fault is not None
    assert answered.machine_fault.where == "sandbox"
