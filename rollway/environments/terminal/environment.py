"""The terminal environment: a task, a sandbox with its files, and a check of what was left there.

Nothing of a check is in the sandbox before the rollout has ended, and nothing that the rollout started runs
any more when it is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import msgspec

from rollway.environments.arguments import check_argument
from rollway.environments.base import Environment, Reward, Task
from rollway.environments.terminal.clean_shell import missing_programs
from rollway.environments.terminal.folders import TaskFolder
from rollway.environments.terminal.host_checks import look_at
from rollway.environments.terminal.judging import check
from rollway.environments.terminal.preparation import prepare_container, require_programs, set_up
from rollway.environments.terminal.task_folders import SHIPPED, folders_of, ids_in, read_folders
from rollway.environments.terminal.verdict import unsolved, verdict_from
from rollway.errors import UserError, nearest
from rollway.limits import Limits
from rollway.tools import Tool
from rollway.tools.sandboxes import Backend, Sandbox, SandboxLimitReached, SandboxLimits, SandboxSpec
from rollway.trajectory import Message, Trajectory

VERDICT = "verdict"
"""Where the check's verdict stands in a trajectory's metadata."""

INTRODUCTION = (
    "You work in a Linux sandbox through a terminal. Do the task below; nobody answers questions. The files "
    "that it names are in the folder where commands start. When it is done, say so without calling a tool."
)


def commands(trajectory: Trajectory, task: Task) -> float:
    """How many tool calls the rollout made."""
    return float(sum(len(turn.tool_calls) for turn in trajectory.turns))


def partial(trajectory: Trajectory, task: Task) -> float:
    """The share of partial checks that passed, after `TerminalEnvironment.solved` has asked them."""
    stored = trajectory.metadata.get(VERDICT)
    if stored is None:
        raise LookupError("the check returned no verdict")
    return verdict_from(stored).share


class TerminalEnvironment(Environment):
    """Tasks to be done in a shell.

    Args:
        path: a folder of task folders; ``None`` is the package's own.
        backend: of the sandboxes of tasks that need no container.
        images: container images by task id, for tasks whose Dockerfile must be built.
        trust_checks: let tasks of ``path`` bring a ``tests/check.py``, which runs outside of the sandbox.
        keep_processes: ids of tasks that ask for a service: what their rollouts left running is not ended
            before the check.
        skip_unsupported: leave out tasks that cannot be run, with a warning each.

    Raises:
        UserError: an argument is of a wrong type, or this machine has not the programs that tasks need.
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
        keep_processes: Sequence[str] = (),
        skip_unsupported: bool = False,
    ) -> None:
        for argument, value, kind, wanted in (
            ("path", path, str | None, "the path of a folder"),
            ("backend", backend, Backend, f"one of {', '.join(get_args(Backend))}"),
            ("images", images, dict[str, str] | None, "a mapping from task ids to names of images"),
            ("trust_checks", trust_checks, bool, "true or false"),
            ("keep_processes", keep_processes, list[str], "a list of task ids"),
            ("skip_unsupported", skip_unsupported, bool, "true or false"),
        ):
            check_argument(self.name, argument, value, kind, wanted)
        self.path = Path(path).expanduser() if path else SHIPPED
        self.shipped = path is None
        self._images = dict(images or {})
        self._trusted = trust_checks or self.shipped
        self._services = frozenset(keep_processes)
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
            require_programs()

    @cached_property
    def tools(self) -> Sequence[Tool]:  # type: ignore[override]  # made when it is first asked for
        from rollway.tools.builtin import toolset

        return toolset("terminal")

    def limits_for(self, task: Task, limits: Limits) -> Limits:
        """The run's limits, and the task's own time for the agent where that is shorter."""
        own, timeout = task.get("agent_timeout"), limits.timeout
        if own is None or (timeout is not None and timeout <= own):
            return limits
        return msgspec.structs.replace(limits, timeout=own)

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
        folders = [
            msgspec.structs.replace(
                folder, keep_processes=folder.keep_processes or folder.id in self._services
            )
            for folder in folders
        ]
        self._refuse_unknown()
        for folder in folders:
            if folder.check == "here" and not self.shipped:
                look_at(folder.path / "tests" / "check.py")
        self._folders |= {folder.id: folder for folder in folders}
        return [_as_task(folder) for folder in folders]

    def _refuse_unknown(self) -> None:
        """See that what is said of single tasks is said of tasks that there are."""
        for argument, named in (("images", self._images), ("keep_processes", self._services)):
            for task_id in named:
                if task_id not in (known := ids_in(self.path)):
                    raise UserError(
                        f"environment_args.{argument}: no task {task_id!r}{nearest(task_id, known)} "
                        f"in {self.path}"
                    )

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
            hidden=[str(self.path.resolve())],
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
        try:
            verdict = await check(self.folder(task), sandbox)
        except SandboxLimitReached as error:  # what the policy started has ended its own sandbox
            verdict = unsolved(str(error))
        trajectory.metadata[VERDICT] = msgspec.to_builtins(verdict)
        return float(verdict.solved)


def _as_task(folder: TaskFolder) -> dict[str, Any]:
    return {
        "task_id": folder.id,
        "instruction": folder.instruction,
        "form": folder.form,
        "difficulty": str(folder.metadata.get("difficulty", "unknown")),
        "category": str(folder.metadata.get("category", "")),
        "agent_timeout": folder.agent_timeout,
    }
