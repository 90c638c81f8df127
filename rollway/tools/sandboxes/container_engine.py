"""Running a container engine's client, and saying what it complained of in its own words and one line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from rollway.errors import UserError
from rollway.tools.sandboxes.client_process import ClientProcess
from rollway.tools.sandboxes.container_commands import ENGINES, image_of, list_command
from rollway.tools.sandboxes.protocol import SandboxError, SandboxFileError
from rollway.tools.sandboxes.spec import SandboxSpec

PATIENCE = 30.0  # seconds that the engine has for an answer that is no command's

PODMAN_PROCESSES = 1 << 20

_NOT_RUNNING = ("Cannot connect to the Docker daemon", "docker daemon is not running", "Is the docker daemon")
_NO_IMAGE = (
    "No such image", "image not known", "manifest unknown", "pull access denied", "initializing source",
    "Unable to find image", "short-name", "repository does not exist", "invalid reference format",
)  # fmt: skip


async def ask_engine(command: Sequence[str], *, patience: float = PATIENCE) -> str:
    """Run a client to its end and return what it wrote to stdout.

    Raises:
        UserError: the engine is not installed or does not run, or the image cannot be had.
        SandboxError: it failed otherwise, or did not answer in time.
    """
    stdout, stderr = bytearray(), bytearray()
    client = start_client(command)
    try:
        out = await client.listen_to_stdout(stdout.extend)
        err = await client.listen_to_stderr(stderr.extend)
        async with asyncio.timeout(patience):
            code = await client.end()
            await asyncio.wait((out.ended, err.ended), timeout=1.0)  # something it started may hold them open
    except TimeoutError:
        raise SandboxError(f"{_said(command)} did not answer within {patience:g} s") from None
    finally:
        client.kill()
        client.let_go()
    if code != 0:
        raise engine_error(command, bytes(stderr))
    return bytes(stdout).decode(errors="replace")


async def tell_engine(command: Sequence[str], *, patience: float | None = None) -> None:
    """As `ask_engine`, but what was asked goes on when the caller is cancelled, and nothing is returned.

    Past ``patience`` the client is killed, also when this process has ended by then.

    Raises:
        UserError: the engine is not installed or does not run.
        SandboxError: it failed otherwise, or did not end in time.
    """
    with tempfile.TemporaryFile() as complaint:
        client = start_client(_bounded(command, patience), stdout=subprocess.DEVNULL, stderr=complaint)
        try:
            async with asyncio.timeout(patience):
                code = await client.end()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(
                    client.child.pid, signal.SIGKILL
                )  # it is alone in its session, with what it started
            raise SandboxError(f"{_said(command)} did not end within {patience:g} s") from None
        if code != 0:
            complaint.seek(0)
            raise engine_error(command, complaint.read())


def _bounded(command: Sequence[str], seconds: float | None) -> list[str]:
    """The command, killed by another program after a time, where the system has one for that."""
    if seconds is None or shutil.which("timeout") is None or shutil.which(command[0]) is None:
        return list(command)
    return ["timeout", "--signal=KILL", f"{seconds + 1:g}", *command]


def start_client(
    command: Sequence[str],
    *,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int = subprocess.PIPE,
    stderr: IO[bytes] | int = subprocess.PIPE,
) -> ClientProcess:
    """Start a client.

    Raises:
        UserError: the engine is not installed.
        SandboxFileError: a word of the command cannot be handed to any program.
        SandboxError: it cannot be started, for example because a command line is too long.
    """
    try:
        return ClientProcess(command, stdin=stdin, stdout=stdout, stderr=stderr)
    except (FileNotFoundError, PermissionError):
        raise _not_installed(command[0]) from None
    except ValueError as error:  # a zero byte, or half a character
        raise SandboxFileError(f"cannot pass on the command: {error}") from error
    except OSError as error:
        raise SandboxError(f"{_said(command)} cannot be started: {error.strerror}") from error


def engine_error(command: Sequence[str], stderr: bytes) -> Exception:
    """What a client's complaint means: a user's mistake, or a sandbox that cannot be had."""
    words = engine_words(stderr)
    engine = command[0]
    if any(sign in words for sign in _NOT_RUNNING):
        return UserError(f"{engine} is not running ({words}); start it, or choose another sandbox.backend")
    if any(sign in words for sign in _NO_IMAGE):
        return UserError(
            f"{engine} does not have the image of sandbox.image ({words}); build or pull it, or correct its "
            "name"
        )
    return SandboxError(f"{_said(command)} failed: {words}")


def engine_words(stderr: bytes) -> str:
    """The last lines of a complaint, in one."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    lines = [
        line for line in lines if not line.startswith(("See '", "Run '")) and "level=warning" not in line
    ]
    return " ".join(lines[-3:])[-600:] or "no reason given"


def user_processes(engine: str) -> int | None:
    """What podman has to be told of a user's processes: its own default is above what an unprivileged root
    may set. Docker's daemon needs nothing."""
    pid_max = Path("/proc/sys/kernel/pid_max")
    if engine != "podman" or not pid_max.exists():
        return None
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    bounds = [PODMAN_PROCESSES, int(pid_max.read_text())]
    return min(bounds if hard == resource.RLIM_INFINITY else [*bounds, hard])


def check_container_backend(spec: SandboxSpec) -> None:
    """Can sandboxes of this backend be opened here? Asks the engine; takes a tenth of a second.

    Raises:
        UserError: no image is given, or the engine is not installed or does not run.
    """
    if spec.backend not in ENGINES:
        return
    image_of(spec)
    command = list_command(spec.backend)
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False
        )
    except (FileNotFoundError, PermissionError):
        raise _not_installed(spec.backend) from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{spec.backend} did not answer within {PATIENCE:g} s; it may be stuck") from None
    if done.returncode != 0:
        error = engine_error(command, done.stderr)
        raise error if isinstance(error, UserError) else UserError(str(error))


def _not_installed(engine: str) -> UserError:
    return UserError(f"{engine} is not installed; install it, or choose another sandbox.backend")


def _said(command: Sequence[str]) -> str:
    return " ".join(command[:2])
