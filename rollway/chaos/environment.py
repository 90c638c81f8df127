"""The environment of chaos runs: tools of every kind, rewards of both kinds, and hooks that fail by lot.

The invariant: nothing but the script decides what a rollout is worth. A fault that is the machine's strikes
once and then never again; one that is the policy's (a tool that always raises) strikes always.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from rollway.chaos.faults import Plan
from rollway.chaos.marks import Marks
from rollway.chaos.script import WEIGHTS, Script, is_right, question, rewards_of
from rollway.chaos.tools import ChaosTools
from rollway.environments.base import Environment, Reward, Task
from rollway.tools import Sandbox, SandboxError, SandboxSpec, Tool
from rollway.tools.sandboxes.spec import Backend
from rollway.trajectory import Message, Trajectory


class ChaosEnvironment(Environment):
    """One question per task.

    Args:
        plan: a `Plan` as plain values.
        tasks: how many.
        folder: where all processes of the run leave their marks.
    """

    name = "chaos"

    def __init__(self, plan: Mapping[str, Any], tasks: int, folder: str) -> None:
        self._plan = msgspec.convert(plan, Plan)
        self._count = tasks
        self._marks = Marks(folder)
        self._script = Script(self._plan.seed, self._plan.failing, self._plan.sandboxes)
        tools = ChaosTools(self._plan, folder)
        self._tools = tools.without_sandbox()
        self._keep = tools.with_sandbox()
        self.rewards = (
            Reward(self._right, WEIGHTS["right"], "right"),
            Reward(self._used, WEIGHTS["used"], "used"),
            Reward(self._brief, WEIGHTS["brief"], "brief"),
        )

    def tasks(self, split: str) -> list[dict[str, Any]]:
        """The tasks, the same for every split."""
        return [{"task_id": task_name(number)} for number in range(self._count)]

    def prompt(self, task: Task) -> list[Message]:
        if self._strikes("hooks", "prompt", task):
            raise ConnectionError("the store of prompts is away")
        if self._strikes("hooks", "slow_prompt", task):
            time.sleep(self._plan.block_seconds)
        return [{"role": "user", "content": question(str(task["task_id"]))}]

    def sandbox_for(self, task: Task) -> SandboxSpec | None:
        if not self._script.has_sandbox(str(task["task_id"])):
            return None
        if self._strikes("sandboxes", "start", task):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return SandboxSpec(backend=cast(Backend, self._plan.backend))

    async def prepare_sandbox(self, task: Task, sandbox: Sandbox) -> None:
        if self._strikes("sandboxes", "prepare", task):
            raise SandboxError("the sandbox was lost before it was ready")
        await sandbox.write("task", str(task["task_id"]).encode())

    async def setup(self, task: Task) -> Any:
        self._break_worker()
        if self._strikes("hooks", "setup", task):
            raise ConnectionError("the store of worlds is away")
        if self._strikes("hooks", "blocking_setup", task):
            time.sleep(self._plan.block_seconds)  # noqa: ASYNC251  (blocking is the fault)
        if self._strikes("hooks", "hanging_setup", task):
            await asyncio.Event().wait()
        return task["task_id"]

    def _break_worker(self) -> None:
        """The faults that are bound to a process: whoever comes first has them."""
        if self._plan.broken_worker:
            self._marks.strike("workers.broken", "pid", str(os.getpid()))
            if self._marks.read("workers.broken", "pid") == str(os.getpid()):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        seconds = self._plan.blocked_loop
        if seconds is not None and self._marks.strike("workers.blocked", "pid", str(os.getpid())):
            time.sleep(seconds)

    def tools_for(self, task: Task, workspace: Any) -> Sequence[Tool]:
        if self._strikes("hooks", "tools_for", task):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return [*self._tools, self._keep] if self._script.has_sandbox(str(task["task_id"])) else self._tools

    def done(self, task: Task, workspace: Any, trajectory: Trajectory) -> bool:
        if self._strikes("hooks", "done", task):
            raise ConnectionError("the judge of the game is away")
        return False

    async def teardown(self, task: Task, workspace: Any, trajectory: Trajectory | None) -> None:
        if self._strikes("hooks", "teardown", task):
            raise ConnectionError("the store of worlds is away")

    def _right(self, trajectory: Trajectory, task: Task) -> float:
        if self._strikes("hooks", "reward", task):
            raise ConnectionError("the judge is away")
        return rewards_of_record(trajectory)["right"]

    async def _used(self, trajectory: Trajectory, task: Task) -> float:
        if self._strikes("hooks", "async_reward", task):
            raise ConnectionError("the judge is away")
        await asyncio.sleep(0)
        return rewards_of_record(trajectory)["used"]

    def _brief(self, trajectory: Trajectory, task: Task) -> float:
        if self._strikes("hooks", "slow_reward", task):
            time.sleep(self._plan.block_seconds)
        if self._strikes("hooks", "hanging_reward", task):
            threading.Event().wait()
        return rewards_of_record(trajectory)["brief"]

    def _strikes(self, group: str, kind: str, task: Task) -> bool:
        key = str(task["task_id"])
        return self._plan.kind_for(group, key) == kind and self._marks.strike(f"{group}.{kind}", key)


def rewards_of_record(trajectory: Trajectory) -> dict[str, float]:
    """What a rollout is worth, from its record."""
    ok = [result.ok for turn in trajectory.turns for result in turn.tool_results]
    last = trajectory.messages[-1]
    text = str(last.get("content")) if last.get("role") == "assistant" else ""
    return rewards_of(is_right(trajectory.task_id, text), ok, len(trajectory.turns))


def task_name(number: int) -> str:
    """The id of a task."""
    return f"{number:06d}"
