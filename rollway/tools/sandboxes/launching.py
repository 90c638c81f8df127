"""Starting a sandbox's agent and seeing its process to the end, whatever it is wrapped in.

Nothing blocks the event loop, no thread is kept, and of the started process nothing is left: no descriptor
and no zombie.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rollway.tools.sandboxes.agent.bundle import program
from rollway.tools.sandboxes.link import Link
from rollway.tools.sandboxes.orphans import MARKER
from rollway.tools.sandboxes.protocol import SandboxError
from rollway.tools.sandboxes.spec import SandboxLimits

START_TIMEOUT = 30.0  # seconds; it takes some hundredths
END_TIMEOUT = 5.0  # seconds for an agent to end all there is, before it is killed
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_T = TypeVar("_T")
Wrap = Callable[[list[str]], list[str]]


@dataclass(slots=True)
class Started:
    """An agent's process, as seen by us."""

    process: subprocess.Popen[bytes]
    end: socket.socket  # our end of its socket
    errors: int  # a pipe with what it says on stderr until it is greeted

    async def drop(self) -> None:
        """End it, ungreeted."""
        self.end.close()
        os.close(self.errors)
        await ended(self.process)


def spawn(
    python: str, wrap: Wrap, marker: Path, *, same_python: bool, pass_fds: Sequence[int] = ()
) -> Started:
    """Start the agent in ``wrap``. Blocks for some milliseconds: not for the event loop."""
    ours, theirs = socket.socketpair()
    file = os.memfd_create("sandbox agent")
    errors, errors_write = os.pipe()
    try:
        os.write(file, program(compiled=same_python))
        path = f"/proc/self/fd/{file}"
        command = wrap([python, "-I", "-S", "-B", path, str(theirs.fileno())])
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors_write,
            pass_fds=(file, theirs.fileno(), *pass_fds),
            env={MARKER: str(marker), "LC_ALL": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
        )
    except BaseException as error:
        ours.close()
        os.close(errors)
        if isinstance(error, OSError):
            raise SandboxError(f"cannot start the sandbox: {error}") from error
        raise
    finally:
        theirs.close()
        os.close(file)
        os.close(errors_write)
    return Started(process, ours, errors)


async def begun(begin: Callable[[], _T], undo: Callable[[_T], Awaitable[None]]) -> _T:
    """What the blocking ``begin`` gives; when the caller is cancelled meanwhile, it is undone first.

    Raises:
        SandboxError: a local file or folder could not be created or read.
    """
    beginning = asyncio.ensure_future(asyncio.to_thread(begin))
    try:
        return await asyncio.shield(beginning)
    except OSError as error:
        raise SandboxError(f"cannot start the sandbox: {error}") from error
    except asyncio.CancelledError:
        await asyncio.wait([beginning])
        if beginning.exception() is None:
            await asyncio.shield(asyncio.ensure_future(undo(beginning.result())))
        raise


async def greet(started: Started, hello: Mapping[str, Any]) -> Link:
    """Tell the agent what its sandbox is. On failure its process is ended.

    Raises:
        SandboxError: it did not start; the message is what it said itself.
    """
    link: Link | None = None
    try:
        link = await Link.over(started.end)
        await link.ask("hello", within=START_TIMEOUT, **hello)
    except BaseException as error:
        if link is not None:
            link.lose("the sandbox did not start")
        await ended(started.process)
        said = await asyncio.to_thread(_all_of, started.errors)
        if isinstance(error, SandboxError):
            raise SandboxError(f"the sandbox did not start: {said.strip() or error}") from error
        raise
    finally:
        os.close(started.errors)
    return link


def _all_of(pipe: int) -> str:
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, 4096).decode("utf-8", "replace")
    except BlockingIOError:
        return ""


async def ended(process: subprocess.Popen[bytes], force: Callable[[], None] | None = None) -> None:
    """Wait until a process whose socket is closed has ended, and reap it; kill it if it does not.

    Args:
        force: how to kill it; by default, the process itself is.
    """
    for act in (None, force or process.kill, process.kill):
        if act is not None:
            await asyncio.to_thread(act)
        if await _exited(process, END_TIMEOUT):
            return


async def _exited(process: subprocess.Popen[bytes], within: float) -> bool:
    if process.poll() is not None:
        return True
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(process.pid)
    over = loop.create_future()
    loop.add_reader(handle, lambda: None if over.done() else over.set_result(None))
    try:
        await asyncio.wait([over], timeout=within)
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return process.poll() is not None


def hello(
    *,
    workspace: str,
    environment: Mapping[str, str],
    limits: SandboxLimits,
    processes: int | None,
    folder: str | None = None,
    user: int | None = None,
    owned: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The agent's options.

    Args:
        processes: of the user that it runs as; ``None`` where the kernel would count others among them.
        folder: removed at the end.
        user: the user and group to become, after ``owned`` was given to them and ``files`` were written.
    """
    bounds = {
        resource.RLIMIT_AS: limits.memory,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    if processes is not None:
        bounds[resource.RLIMIT_NPROC] = processes
    return {
        "workspace": workspace,
        "environment": dict(environment),
        "limits": list(bounds.items()),
        "own_limits": [(resource.RLIMIT_FSIZE, limits.file_size), (resource.RLIMIT_CORE, 0)],
        "output_limit": limits.output,
        "folder": folder,
        "user": user,
        "owned": list(owned),
        "files": dict(files or {}),
    }


def variables(home: str, temporary: str, python: str) -> dict[str, str]:
    """The variables of every command; none of them comes from Rollway's environment."""
    folder = os.path.dirname(python)
    inside = folder in SYSTEM_PATH.split(":")
    return {
        "PATH": SYSTEM_PATH if inside else f"{folder}:{SYSTEM_PATH}",
        "HOME": home,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "SHELL": "/bin/bash",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def base_python() -> str:
    """Our own interpreter, not that of a virtual environment."""
    own = os.path.join(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return own if os.access(own, os.X_OK) else os.path.realpath(sys.executable)
