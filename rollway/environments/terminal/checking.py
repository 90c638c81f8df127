"""What a check that is judged here sees of the sandbox: files, and programs run anew.

The invariant: what decides (the expected values, the comparison) never enters the sandbox, and nothing that
comes out of it is taken for more than data. A check fails by raising; `CheckFailed` tells why.
"""

from __future__ import annotations

import secrets
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from rollway.environments.terminal.clean_shell import CLEAN_ENVIRONMENT
from rollway.tools.sandboxes import ExecResult, Sandbox, SandboxFileError

MAX_FILE = 8 << 20
"""Bytes of a file that a check reads at most; no right answer of a task is longer."""

_FIND_FORMAT = r"%y\t%m\t%s\t%T@\t%P\0%l\0"
_GUARDS = (
    "--no-replace-objects",
    "--no-pager",
    *(
        word
        for setting in (
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.excludesFile=/dev/null",
            "log.showSignature=false",
            "status.showUntrackedFiles=normal",
            "safe.directory=*",
        )
        for word in ("-c", setting)
    ),
)  # what a repository's own configuration could have git run, or leave out


class CheckFailed(Exception):
    """What was left is not what was asked for."""


class Entry(msgspec.Struct, frozen=True):
    """One entry of a folder."""

    kind: str  # "f", "d", "l" or another letter of find's %y
    mode: int  # permission bits
    size: int  # bytes
    modified: int  # seconds since 1970, cut off
    target: str  # of a symbolic link, else ""


def ensure(holds: bool, what: str) -> None:
    """Fail unless ``holds``. (``assert`` would be taken out by ``python -O``.)"""
    if not holds:
        raise CheckFailed(what)


def equal(found: Any, expected: Any) -> None:
    """Fail unless the two are equal."""
    if found != expected:
        raise CheckFailed(f"found {_short(found)}, expected {_short(expected)}")


def gunzip(content: bytes) -> bytes:
    """What a gzipped file holds, up to `MAX_FILE`: a few bytes could stand for more than there is memory.

    Raises:
        CheckFailed: it is damaged, cut short or too long.
    """
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, MAX_FILE)
    except zlib.error as error:
        raise CheckFailed(f"not a gzip file: {error}") from None
    ensure(unpacker.eof, "a gzip file that is truncated, or longer than any right answer")
    return unpacked


def task_module(check_file: str, name: str) -> ModuleType:
    """A module of the task's ``environment`` folder, such as the one that made its data."""
    return load_module(Path(check_file).parent.parent / "environment" / f"{name}.py")


def load_module(path: Path) -> ModuleType:
    """Run a Python file of a task as a module of its own. No bytecode is left beside it."""
    module = ModuleType(f"rollway_task_{path.parent.parent.name}_{path.stem}")
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


class Box:
    """The rollout's sandbox, as a check uses it. Paths are relative to the workspace."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def data(self, path: str) -> bytes:
        """A file's content.

        Raises:
            CheckFailed: it cannot be read, or is longer than `MAX_FILE`.
        """
        try:
            content = await self.sandbox.read(path, max_bytes=MAX_FILE + 1)
        except SandboxFileError as error:
            raise CheckFailed(str(error)) from None
        ensure(len(content) <= MAX_FILE, f"{path} is longer than {MAX_FILE} bytes")
        return content

    async def text(self, path: str) -> str:
        """A file's content as UTF-8."""
        try:
            return (await self.data(path)).decode()
        except UnicodeDecodeError as error:
            raise CheckFailed(f"{path} is not UTF-8: {error}") from None

    async def lines(self, path: str) -> list[str]:
        """A file's lines; whether the last one ends in a line feed makes no difference."""
        text = await self.text(path)
        return text.removesuffix("\n").split("\n") if text else []

    async def tree(self, path: str) -> dict[str, Entry]:
        """Everything below a folder, by the path relative to it; the folder itself is ``""``."""
        folder = path if path.startswith("/") else f"./{path}"
        listing = await self.output("find", folder, "-printf", _FIND_FORMAT)
        fields = listing.split("\0")[:-1]
        entries = {}
        for head, target in zip(fields[::2], fields[1::2], strict=True):
            kind, mode, size, modified, name = head.split("\t", 4)
            entries[name] = Entry(kind, int(mode, 8), int(size), int(modified.partition(".")[0]), target)
        return entries

    async def run(
        self, *command: str, stdin: bytes = b"", directory: str | None = None, timeout: float = 20.0
    ) -> ExecResult:
        """Run a program with a clean environment. ``directory`` is relative to the workspace."""
        inside = self.sandbox.workspace if directory is None else self.inside(directory)
        return await self.sandbox.exec(
            command, stdin=stdin, directory=inside, timeout=timeout, environment=CLEAN_ENVIRONMENT
        )

    async def output(
        self, *command: str, stdin: bytes = b"", directory: str | None = None, timeout: float = 20.0
    ) -> str:
        """What a program prints.

        Raises:
            CheckFailed: it did not finish in time, or not with exit code 0.
        """
        done = await self.run(*command, stdin=stdin, directory=directory, timeout=timeout)
        told = " ".join(command)[:80]
        ensure(not done.timed_out, f"{told!r} did not finish within {timeout:g} s")
        ensure(done.exit_code == 0, f"{told!r} ended with {done.exit_code}: {_short(done.stderr)}")
        ensure(not done.stdout_cut, f"{told!r} printed too much")
        return done.stdout.decode(errors="surrogateescape")

    async def git(self, *arguments: str, repo: str) -> str:
        """What a git command prints, without hooks and replacements, and without the last line feeds."""
        output = await self.output("git", *_GUARDS, *arguments, directory=repo)
        return output.rstrip("\n")

    async def fresh(self) -> str:
        """A new, empty folder that the rollout could not prepare."""
        folder = f".check-{secrets.token_hex(8)}"
        await self.output("mkdir", folder)
        return folder

    async def put(self, path: str, content: bytes) -> None:
        """Write a file; the folders on the way are made."""
        await self.sandbox.write(path, content)

    def inside(self, path: str) -> str:
        """The absolute path, in the sandbox, of a path in the workspace."""
        return f"{self.sandbox.workspace.rstrip('/')}/{path}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 400 else f"{shown[:200]} ... {shown[-200:]}"
