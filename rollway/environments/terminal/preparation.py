"""Making a sandbox ready for a task, and seeing before the rollout that it is what the task counts on."""

from __future__ import annotations

import os
import secrets
import shutil

from rollway.environments.terminal.clean_shell import CLEAN_ENVIRONMENT, PROGRAMS, run_clean
from rollway.environments.terminal.folders import TaskFolder
from rollway.environments.terminal.script_checks import has_room
from rollway.errors import UserError
from rollway.tools.sandboxes import Sandbox

SETUP_SECONDS = 120.0

_IN_CONTAINER = "{ [ -e /.dockerenv ] || [ -e /run/.containerenv ]; } && readlink /proc/self/ns/mnt"


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


async def in_container(sandbox: Sandbox) -> bool:
    """Does the sandbox have a whole file system of its own, whose root folder may be written?"""
    done = await run_clean(sandbox, _IN_CONTAINER, timeout=30.0)
    return done.exit_code == 0 and done.stdout.decode().strip() != os.readlink("/proc/self/ns/mnt")


def require_programs() -> None:
    """See that this machine has what the shipped tasks need.

    Raises:
        UserError: a program is missing.
    """
    path = CLEAN_ENVIRONMENT["PATH"]
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        raise UserError(
            f"the terminal tasks need {', '.join(missing)} in {path}: install them, or use containers with "
            "environment_args backend: docker"
        )
