"""One rollout with a sandbox: the tools and the rewards get the same one, and it is always closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, hang, reply

from rollway import Environment, Limits, ToolPool, tool
from rollway.evaluation.rollout import new_trajectory, run_rollout
from rollway.inference import ChatClient
from rollway.tools.sandboxes import Sandbox, SandboxError, SandboxSpec, open_sandbox
from rollway.trajectory import StopReason, Trajectory

TASK = {"task_id": "t", "n": 1}
LOCAL = SandboxSpec(backend="local")


@tool
async def count_lines(sandbox: Sandbox, path: str) -> str:
    """Count the lines of a file."""
    await sandbox.exec("echo counted >> log")
    return (await sandbox.exec(["wc", "-l", path])).stdout.decode()


async def counted(trajectory: Trajectory, task: Any, sandbox: Sandbox) -> bool:
    return await sandbox.read("log") == b"counted\n" and "2 poem" in trajectory.messages[2]["content"]


class Counting(Environment):
    tools = (count_lines,)
    rewards = (counted,)
    sandbox = LOCAL

    def prompt(self, task: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": "How many lines has the poem?"}]

    async def prepare_sandbox(self, task: Any, sandbox: Sandbox) -> None:
        await sandbox.write("poem", b"one\ntwo\n")


class Watching:
    """Opens real sandboxes and keeps them in sight."""

    def __init__(self) -> None:
        self.opened: list[Sandbox] = []

    async def open_for(self, environment: Environment, task: Any) -> Sandbox:
        self.opened.append(await open_sandbox(LOCAL))
        return self.opened[-1]

    async def release(self, sandbox: Sandbox) -> None:
        await sandbox.close()

    async def all_closed(self) -> bool:
        for sandbox in self.opened:
            try:
                await sandbox.exec("true")
            except SandboxError:
                continue
            return False
        return bool(self.opened)


class Refusing:
    async def open_for(self, environment: Environment, task: Any) -> Sandbox:
        raise SandboxError("no room for a sandbox")


@pytest.fixture
def sandboxes() -> Watching:
    return Watching()


def call_then_answer(request: ScriptedRequest) -> Any:
    if len(request.body["messages"]) > 1:
        return reply("done")
    return reply(tool_calls=[("count_lines", {"path": "poem"})])


@pytest.fixture
async def roll() -> AsyncIterator[Callable[..., Any]]:
    async with ScriptedServer(call_then_answer) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(2) as pool:

                async def roll(environment: Environment, **options: Any) -> Trajectory:
                    return await run_rollout(environment, TASK, client=client, pool=pool, **options)

                yield roll


async def test_tools_and_rewards_get_the_sandbox_that_the_environment_prepared(roll, sandboxes) -> None:
    trajectory = await roll(Counting(), sandboxes=sandboxes)
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert trajectory.tool_errors == []
    assert trajectory.reward == 1.0
    assert await sandboxes.all_closed()


async def test_a_sandbox_of_one_rollout_needs_no_source(roll) -> None:
    assert (await roll(Counting())).reward == 1.0


async def test_a_sandbox_that_does_not_start_ends_the_rollout_unscored(roll) -> None:
    trajectory = await roll(Counting(), sandboxes=Refusing())
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert trajectory.reward is None
    assert trajectory.error is not None
    assert (trajectory.error.where, trajectory.error.message) == ("sandbox", "no room for a sandbox")


@pytest.mark.parametrize("hook", ["prepare_sandbox", "setup", "tools_for", "done"])
async def test_the_sandbox_is_closed_where_a_hook_fails(roll, sandboxes, hook) -> None:
    def fail(*args: Any) -> Any:
        raise KeyError("missing")

    async def fail_later(*args: Any) -> Any:
        raise KeyError("missing")

    environment = Counting()
    setattr(environment, hook, fail_later if hook in ("prepare_sandbox", "setup") else fail)
    trajectory = await roll(environment, sandboxes=sandboxes)
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert await sandboxes.all_closed()


async def test_a_rollout_that_is_cancelled_leaves_no_sandbox(sandboxes) -> None:
    async with ScriptedServer([hang()]) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(2) as pool:
                record = new_trajectory(Counting(), TASK)
                rollout = asyncio.create_task(
                    run_rollout(
                        Counting(), TASK, client=client, pool=pool, trajectory=record, sandboxes=sandboxes
                    )
                )
                await server.until(lambda server: server.running == 1)
                rollout.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await rollout
    assert record.stop_reason is StopReason.CANCELLED
    assert await sandboxes.all_closed()


async def test_a_rollout_out_of_time_leaves_no_sandbox(sandboxes) -> None:
    async with ScriptedServer(lambda request: hang()) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(2) as pool:
                for seconds in (0.2, 2.0, 20.0):  # the shortest in which this machine can prepare a sandbox
                    limits = Limits(timeout=seconds)
                    trajectory = await run_rollout(
                        Counting(), TASK, client=client, pool=pool, sandboxes=sandboxes, limits=limits
                    )
                    assert await sandboxes.all_closed()
                    if trajectory.stop_reason is StopReason.MODEL_ERROR:
                        break
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
