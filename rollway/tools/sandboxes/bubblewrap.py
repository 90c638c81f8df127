"""The `bubblewrap` backend: a sandbox of Linux namespaces, without a daemon or an image.

The agent is the first process of a PID namespace. When its socket closes it ends, and the kernel ends all
else with it; its files are in memory and go with it too. The host keeps a process or two and a cgroup.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from rollway.errors import UserError
from rollway.tools.sandboxes import bubblewrap_view as view
from rollway.tools.sandboxes import cgroups, launching, privileges, seccomp
from rollway.tools.sandboxes.agent_sandbox import AgentSandbox
from rollway.tools.sandboxes.orphans import base_folder, kill_marked, owner_name, reap_orphans_once
from rollway.tools.sandboxes.protocol import SandboxError
from rollway.tools.sandboxes.spec import SandboxSpec

AGENT_MEMORY = 64 << 20  # bytes that the group may hold beyond what the commands may use
AGENT_PROCESSES = 64  # supervisors, which must start even when the commands' processes are used up
NOT_INSTALLED = (
    "sandbox.backend bubblewrap: `bwrap` is not installed; `apt-get install bubblewrap`, or use the local "
    "backend"
)
FORBIDDEN = (
    "sandbox.backend bubblewrap: namespaces are not permitted ({}); allow user namespaces, run as root with "
    "CAP_SYS_ADMIN, or use the local backend"
)
FAILED = "sandbox.backend bubblewrap: no sandbox can start ({}); fix that, or use the local backend"


@dataclass(frozen=True, slots=True)
class _Begun:
    """A sandbox between its start and the agent's greeting."""

    name: str
    marker: Path
    started: launching.Started
    group: cgroups.Group | None

    def limit_reached(self) -> str | None:
        """The limit of its own that it has run into, in words."""
        if self.group is not None and self.group.ran_out_of_memory():
            return "its commands used up its memory (sandbox.limits.memory)"
        return None

    async def drop(self) -> None:
        """End it, ungreeted."""
        await self.started.drop()
        await self.end()

    async def end(self) -> None:
        await launching.ended(self.started.process, partial(kill_marked, self.marker))
        if self.group is not None:
            await self.group.remove()


async def open_bubblewrap(spec: SandboxSpec) -> AgentSandbox:
    """Start a bubblewrap sandbox.

    Raises:
        UserError: `bwrap` is not installed, or a mount's source is missing.
        SandboxError: it cannot be started.
    """
    _check_fields(spec)
    first_user = privileges.first_user()
    python = view.find_python(as_root=first_user is not None)
    begun = await launching.begun(partial(_begin, spec, python, first_user is not None), _Begun.drop)
    user = None if first_user is None else first_user + begun.started.process.pid
    environment = {**launching.variables(view.HOME, "/tmp", python.path), **spec.environment}
    counts = first_user is not None or privileges.counts_processes_per_namespace()
    greeting = launching.hello(
        workspace=view.WORKSPACE,
        environment=environment,
        limits=spec.limits,
        processes=spec.limits.processes + 2 if counts else None,  # agent and supervisor are the user's too
        user=user,
        owned=[view.WORKSPACE, view.HOME],
        files=view.written_files(user or privileges.NAMESPACE_USER),
    )
    try:
        link = await launching.greet(begun.started, greeting)
    except BaseException:
        await asyncio.shield(begun.end())
        raise
    link.limit_reached = begun.limit_reached
    return AgentSandbox(begun.name, view.WORKSPACE, link, begun.end)


def _begin(spec: SandboxSpec, python: view.Python, as_root: bool) -> _Begun:
    """All that blocks: a group, and `bwrap` with the agent, which is put into the group."""
    reap_orphans_once()
    name = f"bwrap-{secrets.token_hex(6)}"
    owner = owner_name()
    marker = base_folder() / owner / name
    limits = spec.limits
    group = cgroups.make(
        owner,
        name,
        memory=limits.memory + limits.disk + AGENT_MEMORY,
        processes=limits.processes + AGENT_PROCESSES,
    )
    info, info_write = os.pipe()
    empty = [os.open(os.devnull, os.O_RDONLY) for _ in view.WRITTEN]
    filters = [_in_memory(program)] if (program := seccomp.program()) else []
    try:
        arguments = view.arguments(
            spec,
            python,
            as_root=as_root,
            can_disable_userns=_can_disable_userns(),
            empty=empty,
            filter_file=filters[0] if filters else None,
        )
        prefix = [_bwrap(), "--info-fd", str(info_write), *arguments]
        started = launching.spawn(
            python.path,
            lambda command: prefix + command,
            marker,
            same_python=python.is_ours,
            pass_fds=[info_write, *empty, *filters],
        )
    except BaseException:
        os.close(info)
        if group is not None:
            asyncio.run(group.remove())
        raise
    finally:
        for file in (info_write, *empty, *filters):
            os.close(file)
    with os.fdopen(info, "rb") as info_read:
        said = info_read.read()
    if group is not None and said:  # empty: it has failed, which the greeting will tell
        try:
            group.add(json.loads(said)["child-pid"])
        except OSError:
            pass  # it is gone already, which the greeting will tell
    return _Begun(name, marker, started, group)


def _in_memory(data: bytes) -> int:
    """A descriptor from which ``data`` can be read."""
    file = os.memfd_create("filter")
    os.write(file, data)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _bwrap() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise UserError(NOT_INSTALLED)
    return found


@cache
def _can_disable_userns() -> bool:
    """Since bubblewrap 0.8: a user namespace in which no further one can be made."""
    told = subprocess.run([_bwrap(), "--help"], capture_output=True, text=True, check=False)
    return "--disable-userns" in told.stdout + told.stderr


def check_bubblewrap(spec: SandboxSpec) -> None:
    """See that such a sandbox starts here. Blocks for some hundredths of a second.

    Raises:
        UserError: it does not.
    """
    _check_fields(spec)

    async def trial() -> None:
        sandbox = await open_bubblewrap(spec)
        await sandbox.close()

    try:
        with ThreadPoolExecutor(1) as thread:  # whoever asks may have an event loop of its own
            thread.submit(lambda: asyncio.run(trial())).result()
    except SandboxError as error:
        said = " ".join(str(error).removeprefix("the sandbox did not start: ").split())
        told = FORBIDDEN if re.search("namespace|uid map|not permitted", said) else FAILED
        raise UserError(told.format(said)) from error


def _check_fields(spec: SandboxSpec) -> None:
    _bwrap()
    for mount in spec.mounts:
        if not os.path.isabs(mount.source) or not os.path.exists(mount.source):
            raise UserError(
                f"sandbox.mounts: the source {mount.source!r} must be an absolute path that exists on this "
                "machine"
            )
        if not os.path.isabs(mount.target):
            raise UserError(f"sandbox.mounts: the target {mount.target!r} must be an absolute path")
