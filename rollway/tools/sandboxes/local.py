"""The `local` backend: commands as plain processes, in a temporary folder.

It is not a security boundary. A command runs as Rollway's user and sees the host's files, processes and
network. It has a clean environment and resource limits, and all its processes are killed at the end. This
protects against accidents, not against malice.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from functools import partial
from pathlib import Path

from rollway.tools.sandboxes import launching
from rollway.tools.sandboxes.agent.folders import remove_folder
from rollway.tools.sandboxes.agent_sandbox import AgentSandbox
from rollway.tools.sandboxes.orphans import (
    MARKER,
    base_folder,
    kill_marked,
    owner_name,
    reap_orphans_once,
)
from rollway.tools.sandboxes.spec import SandboxSpec


async def open_local(spec: SandboxSpec) -> AgentSandbox:
    """Start a local sandbox.

    Raises:
        SandboxError: it cannot be started.
    """
    python = launching.base_python()
    folder, started = await launching.begun(partial(_begin, python), _drop)
    environment = {
        **launching.variables(str(folder / "home"), str(folder / "tmp"), python),
        **spec.environment,
        MARKER: str(folder),
    }
    workspace = str(folder / "workspace")

    async def end() -> None:
        await launching.ended(started.process)
        await asyncio.to_thread(_remove, folder)

    try:
        link = await launching.greet(
            started,
            launching.hello(
                workspace=workspace,
                environment=environment,
                limits=spec.limits,
                processes=None,  # the kernel would count all that our user runs
                folder=str(folder),
            ),
        )
    except BaseException:
        await asyncio.shield(asyncio.to_thread(_remove, folder))
        raise
    link.files_on_host = True
    return AgentSandbox(folder.name, workspace, link, end)


def _begin(python: str) -> tuple[Path, launching.Started]:
    reap_orphans_once()
    folder = base_folder() / owner_name() / f"local-{secrets.token_hex(6)}"
    for part in ("workspace", "home", "tmp"):
        (folder / part).mkdir(mode=0o700, parents=True)
    try:
        return folder, launching.spawn(python, lambda command: command, folder, same_python=True)
    except BaseException:
        remove_folder(str(folder))
        raise


async def _drop(begun: tuple[Path, launching.Started]) -> None:
    folder, started = begun
    await started.drop()
    await asyncio.to_thread(_remove, folder)


def _remove(folder: Path) -> None:
    """What the agent itself removes, unless it was killed."""
    if folder.exists():
        kill_marked(folder)
        remove_folder(str(folder))
    try:
        os.rmdir(folder.parent)
    except OSError:
        pass  # other sandboxes of this process are in it
