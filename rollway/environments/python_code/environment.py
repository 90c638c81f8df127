"""The python_code environment: write ``solution.py``, have it held to tests that nobody saw.

A reward of 1.0 means that every hidden test passed, and nothing else does. The tests come into the sandbox
when the rollout has ended and all that it had started there is gone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec

from rollway.environments.arguments import check_argument
from rollway.environments.base import Environment, Reward, Task
from rollway.environments.python_code.checking import (
    SOLUTION,
    Verdict,
    check_asserts,
    check_solution,
    read_solution,
)
from rollway.environments.python_code.humaneval import package_data_file, read_humaneval
from rollway.environments.python_code.task_files import SHIPPED, read_tasks
from rollway.errors import UserError
from rollway.tools import Tool
from rollway.tools.builtin import toolset
from rollway.tools.sandboxes import Sandbox, SandboxError, SandboxLimitReached, SandboxSpec
from rollway.trajectory import Message, Trajectory

INSTRUCTIONS = """\
You solve a programming task in Python. Your workspace has a shell, a Python interpreter and files.

Write the solution to the file `solution.py` in the top folder of the workspace. Only this file is looked \
at: it must be complete in itself, and it may import the standard library alone. When it is written and you \
have tried it out, call `submit`; only the file counts, not what you submit. Tests that you have not been \
shown will then call what you wrote, also with unusual arguments."""

_ANSWERS_IN_SIGHT = 4
_FIT = f"""\
import os, sys
if sys.version_info < (3, 9):
    sys.exit(3)
ours, answers = sys.argv[1:]
def seen():
    try:
        return os.listdir(answers) if os.path.isdir(answers) else open(answers, "rb").read(1)
    except OSError:
        return None
if os.readlink("/proc/self/ns/mnt") != ours and seen():
    sys.exit({_ANSWERS_IN_SIGHT})
"""
"""Run in a fresh sandbox. The local backend, which hides nothing of the host, is left out."""

VERDICT = "python_code"
"""The key of the verdict in a trajectory's metadata."""


class PythonCodeEnvironment(Environment):
    """Functions and classes to be written in Python, in a sandbox.

    Args:
        dataset: ``"tasks"`` are Rollway's own, or those of a folder in the same form; ``"humaneval"`` is
            HumanEval.
        path: that folder, or a file in HumanEval's form; absolute, or from the folder of the run's start.
        check_timeout: seconds in which all hidden tests of a task must have run.

    Raises:
        UserError: there is no such dataset, or an argument is of a wrong type or not positive.
    """

    name = "python_code"
    sandbox = SandboxSpec()
    pass_threshold = 1.0

    def __init__(
        self,
        *,
        dataset: Literal["tasks", "humaneval"] = "tasks",
        path: str | None = None,
        check_timeout: float = 20.0,
    ) -> None:
        if dataset not in ("tasks", "humaneval"):
            raise UserError(f"python_code has no dataset {dataset!r}; it has 'tasks' and 'humaneval'")
        check_argument(self.name, "path", path, str | None, "the path of a folder or a file")
        check_argument(self.name, "check_timeout", check_timeout, float, "a number of seconds")
        if not 0 < check_timeout < math.inf:
            raise UserError(f"python_code: check_timeout must be positive, got {check_timeout}")
        self.dataset, self.path, self.check_timeout = dataset, path, check_timeout
        self.rewards = (
            Reward(self.passed, name="passed"),
            Reward(cases_passed, weight=0.0, name="cases_passed"),
            Reward(ran_code, weight=0.0, name="ran_code"),
        )

    def tasks(self, split: str) -> list[dict[str, Any]]:
        """The tasks of ``"train"`` or ``"test"``; HumanEval has ``"test"`` alone.

        Raises:
            ValueError: there is no such split.
            UserError: the tasks cannot be read.
        """
        if self.dataset == "tasks":
            return read_tasks(self._source(), split)
        if split != "test":
            raise ValueError(f"HumanEval has no split {split!r}; it has 'test'")
        return read_humaneval(self._source())

    def prompt(self, task: Task) -> list[Message]:
        """What to do and where, and the task."""
        return [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": task["prompt"]},
        ]

    def sandbox_for(self, task: Task) -> SandboxSpec:
        """One that does not show the tasks' files, where its backend can hide any."""
        return SandboxSpec(hidden=[str(self._source())])

    @cached_property
    def tools(self) -> Sequence[Tool]:  # type: ignore[override]  # made when it is first asked for
        """Files, a shell, an interpreter, and `submit`, which ends the rollout."""
        return [tool for name in ("files", "terminal", "python", "submit") for tool in toolset(name)]

    async def prepare_sandbox(self, task: Task, sandbox: Sandbox) -> None:
        """Make sure of the interpreter, and that the answers are out of sight.

        Raises:
            SandboxError: there is no Python 3.9 or later, or the tasks' files can be read in the sandbox.
        """
        arguments = [_mount_namespace(), str(self._source())]
        done = await sandbox.exec(["python3", "-I", "-c", _FIT, *arguments], timeout=60)
        if done.exit_code == _ANSWERS_IN_SIGHT:
            raise SandboxError(
                f"python_code: the sandbox shows {arguments[1]}, where the answers are; install Rollway in "
                "a virtual environment outside the folders that sandboxes see"
            )
        if done.exit_code:
            raise SandboxError("python_code: the sandbox has no python3 of version 3.9 or later")

    def _source(self) -> Path:
        """Where the tasks, and their answers, lie on the host."""
        if self.path is not None:
            return Path(self.path).expanduser().resolve()
        return package_data_file() if self.dataset == "humaneval" else SHIPPED

    async def passed(self, trajectory: Trajectory, task: Task, sandbox: Sandbox) -> float:
        """1.0 when every hidden test passed. The verdict is noted in the trajectory's metadata.

        Raises:
            SandboxError: the sandbox is gone, and not by a limit of its own: nothing can be said.
        """
        trajectory.metadata.pop(VERDICT, None)
        try:
            verdict = await self._check(task, sandbox)
        except SandboxLimitReached as error:  # what the policy started has ended its own sandbox
            verdict = Verdict(1, 0, str(error))
        trajectory.metadata[VERDICT] = msgspec.to_builtins(verdict)
        return float(verdict.all_passed)

    async def _check(self, task: Task, sandbox: Sandbox) -> Verdict:
        await sandbox.kill_all()
        code = await read_solution(sandbox)
        if code is None:
            return Verdict(1, 0, f"no readable {SOLUTION}")
        if self.dataset == "humaneval":
            return await check_asserts(sandbox, code, task, timeout=self.check_timeout)
        return await check_solution(sandbox, code, task["tests"], timeout=self.check_timeout)


def _mount_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/mnt")
    except OSError:  # not on Linux
        return ""


def cases_passed(trajectory: Trajectory, task: Task) -> float:
    """The share of hidden tests that passed, as `PythonCodeEnvironment.passed` noted it.

    Raises:
        LookupError: there is no verdict.
    """
    if VERDICT not in trajectory.metadata:
        raise LookupError("no verdict: the hidden tests could not be run")
    verdict = msgspec.convert(trajectory.metadata[VERDICT], Verdict)
    return verdict.passed / verdict.cases


def ran_code(trajectory: Trajectory, task: Task) -> float:
    """1.0 when the policy ran anything before it handed in."""
    results = (result for turn in trajectory.turns for result in turn.tool_results)
    return float(any(result.name in ("terminal", "python") for result in results))
