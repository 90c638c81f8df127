"""Files of a container's workspace, by scripts that run inside it: no host path is ever followed there.

Paths are checked twice: here without touching a disk, and inside the container where links are followed.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

from rollway.tools.sandboxes import container_scripts as scripts
from rollway.tools.sandboxes.archives import Bounds, on_our_disk
from rollway.tools.sandboxes.container_commands import WORKSPACE
from rollway.tools.sandboxes.container_snapshots import snapshot_of, workspace_of, write_folders
from rollway.tools.sandboxes.packing import pack, source_of
from rollway.tools.sandboxes.protocol import ExecResult, SandboxError, SandboxFileError
from rollway.tools.sandboxes.unpacking import unpack

TIMEOUT = 600.0  # seconds for one file operation


class Runner(Protocol):
    """Runs a command in the container and keeps all its output, or writes it to a file."""

    async def run(
        self,
        command: Sequence[str],
        *,
        timeout: float | None,
        stdin: IO[bytes] | None,
        most: int | None,
        stdout: IO[bytes] | None,
    ) -> ExecResult: ...


async def read(container: Runner, path: str, max_bytes: int | None) -> bytes:
    inside = checked(path)
    most = "" if max_bytes is None else str(max_bytes)
    return (await _run(container, scripts.READ, path, inside, most)).stdout


async def write(container: Runner, path: str, source: IO[bytes], executable: bool) -> None:
    inside = checked(path)
    await _run(container, scripts.WRITE, path, inside, "executable" if executable else "plain", stdin=source)


async def upload(container: Runner, source: Path, path: str) -> None:
    source = await asyncio.to_thread(source_of, source)
    if await asyncio.to_thread(source.is_file):
        with await asyncio.to_thread(_readable, source) as content:
            executable = bool(os.fstat(content.fileno()).st_mode & 0o100)
            return await write(container, path, content, executable)
    with on_our_disk(path), tempfile.TemporaryFile() as archive:
        await asyncio.to_thread(pack, source, archive, ".")
        await _run(container, scripts.UNPACK, path, checked(path), "add", stdin=archive)
    return None


async def download(container: Runner, path: str, target: Path) -> None:
    with on_our_disk(path), tempfile.TemporaryFile() as archive:
        await _run(container, scripts.PACK, path, checked(path), stdout=archive)
        await asyncio.to_thread(unpack, archive, target, ".")


async def snapshot(container: Runner) -> bytes:
    with on_our_disk("."), tempfile.TemporaryFile() as archive:
        await _run(container, scripts.PACK, ".", ".", stdout=archive)
        return await asyncio.to_thread(snapshot_of, archive)


async def restore(container: Runner, archive: bytes) -> None:
    with on_our_disk("."), tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as folders:
        shut = await asyncio.to_thread(workspace_of, archive, source)
        await _run(container, scripts.UNPACK, ".", ".", "empty", stdin=source)
        if shut:
            write_folders(shut, folders)
            await _run(container, scripts.UNPACK, ".", ".", "add", stdin=folders)


def checked(path: str) -> str:
    """A path relative to the workspace, ``.`` for the workspace itself.

    Raises:
        SandboxFileError: it leads out of the workspace, or no file can have this name.
    """
    try:
        named = b"\0" not in path.encode()
    except UnicodeEncodeError:
        named = False
    if not named:
        raise SandboxFileError(f"{path!r}: invalid file name")
    whole = posixpath.normpath(posixpath.join(WORKSPACE, path))
    if whole != WORKSPACE and not whole.startswith(WORKSPACE + "/"):
        raise _refused(path)
    return posixpath.relpath(whole, WORKSPACE)


async def _run(
    container: Runner,
    script: str,
    path: str,
    inside: str,
    *arguments: str,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> ExecResult:
    """Run a script. What it writes to a file, ``stdout``, is as much as may come out of a sandbox at once."""
    command = ["sh", "-c", script, "rollway", WORKSPACE, inside, *arguments]
    most = None if stdout is None else Bounds().bytes
    done = await container.run(command, timeout=TIMEOUT, stdin=stdin, most=most, stdout=stdout)
    if done.output_exceeded:
        raise SandboxFileError(f"{path}: more than {most} bytes to copy out of the sandbox")
    if done.timed_out:
        raise SandboxError(f"{path}: the sandbox did not finish with this file within {TIMEOUT:g} s")
    words = " ".join(done.stderr.decode(errors="replace").split())[-300:]
    changed = done.exit_code == 1 and "as we read it" in words  # tar, of a file that is being written
    if done.exit_code != 0 and not changed:
        raise _error(done.exit_code, path, words)
    return done


def _readable(source: Path) -> IO[bytes]:
    try:
        return source.open("rb")
    except OSError as error:
        raise SandboxFileError(f"{source}: {error.strerror}") from error


def _error(code: int, path: str, words: str) -> Exception:
    match code:
        case scripts.OUTSIDE:
            return _refused(path)
        case scripts.MISSING:
            return SandboxFileError(f"{path}: no such file or folder")
        case scripts.FOLDER:
            return SandboxFileError(f"{path}: is a folder")
        case scripts.IRREGULAR:
            return SandboxFileError(f"{path}: not a regular file")
        case scripts.NOT_FOLDER:
            return SandboxFileError(f"{path}: a file is where a folder should be")
        case scripts.LOOP:
            return SandboxFileError(f"{path}: too many symbolic links")
        case scripts.TOO_LARGE:
            return SandboxFileError(f"{path}: File too large")
        case 127:
            return SandboxError(f"the sandbox's image lacks a program that files need: {words}")
    return SandboxFileError(f"{path}: {words or 'failed; the disk or the file limit may be full'}")


def _refused(path: str) -> SandboxFileError:
    return SandboxFileError(f"{path}: leads out of the workspace")
