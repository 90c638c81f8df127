"""What a sandbox is to those who use it: commands, processes and files in a workspace of its own.

Paths of files are relative to the workspace, or absolute within it; a path that leads out of it, by ``..`` or
through a symbolic link, is refused. Every method raises `SandboxError` once the sandbox is closed or lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

MAX_OUTPUT = 1 << 20
"""Bytes of each of a command's outputs that are kept, unless the caller says otherwise."""


class SandboxError(Exception):
    """The sandbox itself failed: it cannot be started, it was closed, or it is gone."""


class SandboxLimitReached(SandboxError):
    """It is gone because what ran in it used up a limit of its own, such as its memory."""


class SandboxFileError(Exception):
    """A file operation was refused or failed; the message names the path and is fit for the model."""


class ExecResult(msgspec.Struct, frozen=True):
    """What came of one command. An output that was too long keeps its beginning and its end."""

    exit_code: int  # 128 + n when signal n ended it, as a shell says it
    stdout: bytes
    stderr: bytes
    stdout_cut: int = 0  # bytes that are missing from the middle of stdout
    stderr_cut: int = 0
    timed_out: bool = False  # it was killed at its deadline, with all that it had started
    output_exceeded: bool = False  # it was killed because it wrote more than the sandbox's limit
    duration: float = 0.0  # seconds


@runtime_checkable
class SandboxProcess(Protocol):
    """A process that goes on between calls. It ends with its sandbox."""

    async def write(self, data: bytes) -> None:
        """Send to its standard input.

        Raises:
            SandboxError: it has ended, or the sandbox is gone.
        """
        ...

    async def read(self) -> bytes:
        """What it has written to stdout and stderr since the last call, waiting for the first byte; ``b""``
        when it has ended and everything was read."""
        ...

    async def kill(self, *, children_only: bool = False, started_after: float | None = None) -> None:
        """End it and all that it started, daemons included.

        Args:
            children_only: spare the process itself.
            started_after: only processes started within this many seconds before this call; ``None`` is
                everything.
        """
        ...

    async def wait(self) -> int:
        """Its exit code, when it has ended."""
        ...


@runtime_checkable
class Sandbox(Protocol):
    """One rollout's own machine, or what stands for one."""

    id: str
    workspace: str  # the folder that commands start in, as they see it

    @property
    def closed(self) -> bool:
        """Is it known that nothing can be done in it any more: was it closed, or lost?"""
        ...

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes = b"",
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
        max_output: int = MAX_OUTPUT,
    ) -> ExecResult:
        """Run a command to its end: a text by ``bash -c``, a list as it is.

        What it left in the background goes on. A caller that is cancelled takes the command with it.

        Args:
            timeout: seconds; past them the command and all that it started are killed.
            directory: to start in; ``None`` is the workspace.
            environment: overrides the sandbox's own variables. Rollway's environment is never inherited.
            max_output: bytes of stdout, and of stderr, that are kept.
        """
        ...

    async def start(
        self,
        command: Sequence[str],
        *,
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> SandboxProcess:
        """Start a process that goes on."""
        ...

    async def kill_all(self) -> None:
        """End every command, every process and all that they started; the files stay, and it goes on."""
        ...

    async def read(self, path: str | Path, *, max_bytes: int | None = None) -> bytes:
        """A file's content, or its first ``max_bytes``.

        Raises:
            SandboxFileError: it is missing, a folder, no regular file, or out of the workspace.
        """
        ...

    async def write(self, path: str | Path, data: bytes, *, executable: bool = False) -> None:
        """Write a file; folders on the way are made. Permissions of one that is there stay.

        Raises:
            SandboxFileError: the path leads out of the workspace, or the disk or file limit is reached.
        """
        ...

    async def upload(self, source: str | Path, path: str | Path) -> None:
        """Copy a local file or folder to ``path``.

        Raises:
            SandboxFileError: it is missing or cannot be read, or the path leads out of the workspace.
        """
        ...

    async def download(self, path: str | Path, target: str | Path) -> None:
        """Copy a file or a folder to ours at ``target``. Symbolic links are copied as links, never followed,
        and left out where they could lead out of the copy.

        Raises:
            SandboxFileError: it is missing, ``target`` cannot be written, or what comes is refused.
        """
        ...

    async def snapshot(self) -> bytes:
        """The workspace as a gzipped tar archive; `restore` in a new sandbox gives the same files."""
        ...

    async def restore(self, snapshot: bytes) -> None:
        """Make the workspace what it was at `snapshot`, of this or another kind of sandbox.

        Raises:
            SandboxFileError: it is no snapshot.
        """
        ...

    async def close(self) -> None:
        """End everything in it and let go of it. Closing twice is no fault."""
        ...
