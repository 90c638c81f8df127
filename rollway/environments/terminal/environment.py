"""The terminal environment: a task, a sandbox with its files, and a check of what was left there.

Nothing of a check is in the sandbox before the rollout has ended, and nothing that the rollout started runs
any more when it is checked.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from rollway.environments.base import Environment, Reward, Task
from rollway.environments.terminal.clean_shell import CLEAN_ENVIRONMENT, PROGRAMS, missing_programs, run_clean
from rollway.environments.terminal.folders import TaskFolder
from rollway.environments.terminal.host_checks import judge_here
from rollway.environments.terminal.script_checks import has_room, run_script
from rollway.environments.terminal.task_folders import SHIPPED, folders_of, read_folders
from rollway.environments.terminal.verdict import Verdict, verdict_from
from rollway.errors import UserError
from rollway.tools import Tool
from rollway.tools.sandboxes import Backend, Sandbox, SandboxLimits, SandboxSpec
from rollway.trajectory import Message, Trajectory

VERDICT = "verdict"
"""Where the check's verdict stands in a trajectory's metadata."""

SETUP_SECONDS = 120.0

INTRODUCTION = (
    "You work in a Linux sandbox through a terminal. Do the task below; nobody answers questions. The files "
    "that it names are in the folder where commands start. When it is done, say so without calling a tool."
)

_IN_CONTAINER = "{ [ -e /.dockerenv ] || [ -e /run/.containerenv ]; } && readlink /proc/self/ns/mnt"


def commands(trajectory: Trajectory, task: Task) -> float:
    """How many tool calls the rollout made."""
    return float(sum(len(turn.tool_calls) for turn in trajectory.turns))


def partial(trajectory: Trajectory, task: Task) -> float:
    """The share of partial checks that passed, after `TerminalEnvironment.solved` has asked them."""
    stored = trajectory.metadata.get(VERDICT)
    if stored is None:
        raise LookupError("the check came to no verdict")
    return verdict_from(stored).share


class TerminalEnvironment(Environment):
    """Tasks to be done in a shell.

    Args:
        path: a folder of task folders; ``None`` is the package's own.
        backend: of the sandboxes of tasks that need no container.
        images: container images by task id, for tasks whose Dockerfile must be built.
        trust_checks: let tasks of ``path`` bring a ``tests/check.py``, which runs outside of the sandbox.
        skip_unsupported: leave out tasks that cannot be run, with a warning each.

    Raises:
        UserError: a program is missing that the tasks need on this machine.
    """

    name = "terminal"
    pass_threshold = 1.0

    def __init__(
        self,
        *,
        path: str | None = None,
        backend: Backend = "bubblewrap",
        images: Mapping[str, str] | None = None,
        trust_checks: bool = False,
        skip_unsupported: bool = False,
    ) -> None:
        self.path = Path(path).expanduser() if path else SHIPPED
        self.shipped = path is None
        self._images = dict(images or {})
        self._trusted = trust_checks or self.shipped
        self._skip = skip_unsupported
        self._folders: dict[str, TaskFolder] = {}
        self.backend = backend
        self.sandbox = SandboxSpec(backend=backend)
        self.rewards = (
            Reward(self.solved),
            Reward(partial, weight=0.0),
            Reward(commands, weight=0.0),
        )
        if self.shipped and backend in ("local", "bubblewrap"):
            _require_programs()

    @cached_property
    def tools(self) -> Sequence[Tool]:  # type: ignore[override]  # made when it is first asked for
        from rollway.tools.builtin import toolset

        return toolset("terminal")

    def tasks(self, split: str) -> list[dict[str, Any]]:
        """The tasks of a split, by name; see `folders_of`.

        Each has ``task_id``, ``instruction``, ``form``, ``difficulty``, ``category`` and ``agent_timeout``.

        Raises:
            ValueError: there is no such split.
            UserError: a task cannot be run.
        """
        folders = read_folders(
            folders_of(self.path, split),
            images=self._images,
            trusted=self._trusted,
            skip_unsupported=self._skip,
        )
        self._folders |= {folder.id: folder for folder in folders}
        return [_as_task(folder) for folder in folders]

    def prompt(self, task: Task) -> list[Message]:
        """How things are in the sandbox, and the task's instruction."""
        folder = self.folder(task)
        introduction = INTRODUCTION
        if folder.directory:
            introduction += f" The task's files are in {folder.directory}."
        return [{"role": "system", "content": introduction}, {"role": "user", "content": folder.instruction}]

    def folder(self, task: Task) -> TaskFolder:
        """The folder that a task was read from."""
        task_id = str(task["task_id"])
        if task_id not in self._folders:
            for split in ("test", "train"):
                with suppress(ValueError):
                    self.tasks(split)
        if task_id not in self._folders:
            raise UserError(f"no task {task_id!r} in {self.path}")
        return self._folders[task_id]

    def sandbox_for(self, task: Task) -> SandboxSpec:
        """The task's own image, limits, network and variables."""
        folder = self.folder(task)
        limits = SandboxLimits()
        if folder.memory is not None:
            limits = msgspec.structs.replace(limits, memory=folder.memory)
        if folder.disk is not None:
            limits = msgspec.structs.replace(limits, disk=folder.disk)
        backend = self.backend
        if folder.image is not None and backend in ("local", "bubblewrap"):
            backend = "docker"
        return SandboxSpec(
            backend=backend,
            limits=limits,
            network=folder.network,
            image=folder.image,
            environment=folder.environment,
        )

    async def prepare_sandbox(self, task: Task, sandbox: Sandbox) -> None:
        """Make the task's files by its ``environment/setup.sh``, of which nothing stays in the sandbox."""
        folder = self.folder(task)
        if folder.image is not None:
            await prepare_container(folder, sandbox)
        if self.shipped and (missing := await missing_programs(sandbox)):
            raise UserError(f"the sandbox lacks {', '.join(missing)}, which the terminal tasks need")
        if folder.image is None:
            await set_up(folder, sandbox)

    async def solved(self, trajectory: Trajectory, task: Task, sandbox: Sandbox) -> float:
        """1.0 when the task's check passes. The verdict is kept in the trajectory's metadata."""
        trajectory.metadata.pop(VERDICT, None)
        verdict = await check(self.folder(task), sandbox)
        trajectory.metadata[VERDICT] = msgspec.to_builtins(verdict)
        return float(verdict.solved)


async def prepare_container(folder: TaskFolder, sandbox: Sandbox) -> None:
    """See that the sandbox is what the task counts on, and make the folder that it works in.

    Raises:
        UserError: it is no container, or its check could not be brought into it later.
    """
    if not await in_container(sandbox):
        raise UserError(
            f"task {folder.id} needs a container of {folder.image}: set sandbox.backend to docker or podman"
        )
    if not await has_room(sandbox):
        raise UserError(
            f"task {folder.id}: the user of {folder.image} cannot make /tests and /logs for its check"
        )
    if folder.directory:
        await run_clean(sandbox, 'mkdir -p "$1"', folder.directory)


async def set_up(folder: TaskFolder, sandbox: Sandbox) -> None:
    """Run a task's ``environment/setup.sh`` in the workspace, and remove it.

    Raises:
        RuntimeError: it failed.
    """
    if not (folder.path / "environment" / "setup.sh").exists():
        return
    place = f".setup-{secrets.token_hex(8)}"
    await sandbox.upload(folder.path / "environment", place)
    script = 'umask 022; bash --noprofile --norc -e "$1/setup.sh"; code=$?; rm -rf "$1"; exit $code'
    done = await run_clean(sandbox, script, f"{sandbox.workspace.rstrip('/')}/{place}", timeout=SETUP_SECONDS)
    if done.exit_code != 0:
        told = done.stderr.decode(errors="replace").strip()[-500:]
        raise RuntimeError(f"setup.sh of task {folder.id} ended with {done.exit_code}: {told}")


async def check(folder: TaskFolder, sandbox: Sandbox) -> Verdict:
    """End all that the rollout left running, and judge what else it left.

    Raises:
        SandboxError: the sandbox is gone, so that nothing can be said.
    """
    await sandbox.kill_all()
    if folder.check == "here":
        verdict = await judge_here(folder.path / "tests" / "check.py", sandbox, timeout=folder.check_timeout)
    else:
        verdict = await run_script(folder, sandbox)
    if not verdict.solved:
        await run_clean(sandbox, ":", timeout=30.0)  # a sandbox that is gone says so here at the latest
    return verdict


async def in_container(sandbox: Sandbox) -> bool:
    """Does the sandbox have a whole file system of its own, whose root folder may be written?"""
    done = await run_clean(sandbox, _IN_CONTAINER, timeout=30.0)
    return done.exit_code == 0 and done.stdout.decode().strip() != os.readlink("/proc/self/ns/mnt")


def _require_programs() -> None:
    path = CLEAN_ENVIRONMENT["PATH"]
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        raise UserError(
            f"the terminal tasks need {', '.join(missing)} in {path}: install what is missing, or use "
            f"containers with environment_args backend: docker"
        )


def _as_task(folder: TaskFolder) -> dict[str, Any]:
    return {
        "task_id": folder.id,
        "instruction": folder.instruction,
        "form": folder.form,
        "difficulty": str(folder.metadata.get("difficulty", "unknown")),
        "category": str(folder.metadata.get("category", "")),
        "agent_timeout": folder.agent_timeout,
    }
