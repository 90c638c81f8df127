"""``read_file``, ``write_file``, ``edit_file``, ``list_files``, ``search_files``: the files of one workspace.

No path leads out of the workspace, by ``..`` or by a symbolic link. Edits of one rollout wait for each other,
so that two of one turn never lose each other's change.
"""

import asyncio
from typing import Annotated

from rollway.tools.builtin import find_scripts
from rollway.tools.builtin.edits import EditRefused, replace_text
from rollway.tools.builtin.pages import NoPage, page_of
from rollway.tools.context import Notes
from rollway.tools.definition import Tool, ToolFailed, ToolOutput, tool
from rollway.tools.sandboxes.protocol import ExecResult, Sandbox, SandboxFileError

MAX_READ = 16 << 20  # bytes of a file that are looked at
PAGE_LINES = 1_000
SEARCH_SECONDS = 20.0
_KEY = "rollway.files"
_PATH = "relative to the workspace"


def file_tools() -> tuple[Tool, ...]:
    """The five tools on files."""
    return (
        tool(read_file),
        tool(write_file),
        tool(edit_file),
        tool(list_files),
        tool(search_files),
    )


async def read_file(
    path: Annotated[str, _PATH],
    sandbox: Sandbox,
    first_line: Annotated[int, "where to begin, from 1"] = 1,
    lines: Annotated[int, "the most lines to return"] = PAGE_LINES,
    numbered: Annotated[bool, "put the line's number before each line"] = False,
) -> str:
    """Read a text file."""
    data = await _read(sandbox, path)
    try:
        return await asyncio.to_thread(
            page_of,
            data,
            first_line=first_line,
            lines=lines,
            numbered=numbered,
            whole=len(data) < MAX_READ,
            name=path,
        )
    except NoPage as refused:
        raise ToolFailed(str(refused)) from None


async def write_file(
    path: Annotated[str, _PATH], content: Annotated[str, "all of the file"], sandbox: Sandbox, notes: Notes
) -> str:
    """Write a file, over the one that is there. Folders on the way are made."""
    data = content.encode("utf-8", "replace")
    async with _lock(notes):
        await _write(sandbox, path, data)
    count = content.count("\n") + (not content.endswith("\n") and content != "")
    return f"Wrote {path}: {count} {'line' if count == 1 else 'lines'}, {len(data)} bytes."


async def edit_file(
    path: Annotated[str, _PATH],
    old: Annotated[str, "the exact text to replace, which must stand there once"],
    new: str,
    sandbox: Sandbox,
    notes: Notes,
    all: Annotated[bool, "replace it wherever it stands"] = False,
) -> str:
    """Replace a piece of a text file."""
    async with _lock(notes):
        data = await _read(sandbox, path)
        if len(data) >= MAX_READ:
            raise ToolFailed(f"Error: {path} is too large to edit ({MAX_READ >> 20} MiB or more)")
        if b"\0" in data:
            raise ToolFailed(f"Error: {path} is a binary file")
        text = data.decode("utf-8", "surrogateescape")  # what is no UTF-8 goes back as it was
        try:
            edited = await asyncio.to_thread(replace_text, text, old, new, everywhere=all)
        except EditRefused as refused:
            raise ToolFailed(str(refused)) from None
        await _write(sandbox, path, _encode(edited.text))
    places = ", ".join(map(str, edited.lines[:10])) + (", ..." if len(edited.lines) > 10 else "")
    if len(edited.lines) == 1:
        return f"Edited {path} at line {places}."
    return f"Edited {path} at {len(edited.lines)} places (lines {places})."


async def list_files(
    sandbox: Sandbox,
    path: Annotated[str, f"a folder, {_PATH}"] = ".",
    depth: Annotated[int, "how many folders deep to go"] = 2,
) -> str:
    """List files and folders."""
    if depth < 1:
        raise ToolFailed(f"Error: depth must be at least 1, got {depth}")
    done = await _find(sandbox, find_scripts.LIST, path, str(depth))
    return find_scripts.listing(done.stdout, path)


async def search_files(
    pattern: Annotated[str, "a regular expression, for one line"],
    sandbox: Sandbox,
    path: Annotated[str, f"a folder or file, {_PATH}"] = ".",
    glob: Annotated[str | None, "only files of this name, such as *.py"] = None,
) -> ToolOutput:
    """Search text files for a regular expression. Returns path, line number and line of each match."""
    done = await _find(sandbox, find_scripts.SEARCH, path, pattern, *find_scripts.glob_test(glob))
    if done.exit_code == find_scripts.BAD_PATTERN:
        reason = done.stderr.decode("utf-8", "replace").strip().removeprefix("grep: ")
        raise ToolFailed(f"Error: the pattern is not a regular expression: {reason}")
    found = find_scripts.matches(done.stdout, path)
    if done.timed_out:
        return ToolOutput(
            f"Error: the search took more than {SEARCH_SECONDS:g} seconds; narrow the path or the glob",
            ok=False,
        )
    return ToolOutput(found)


async def _read(sandbox: Sandbox, path: str) -> bytes:
    if not path:
        raise ToolFailed("Error: path is empty")
    try:
        return await sandbox.read(path, max_bytes=MAX_READ)
    except SandboxFileError as error:
        raise ToolFailed(f"Error: {error}") from None


async def _write(sandbox: Sandbox, path: str, data: bytes) -> None:
    if not path:
        raise ToolFailed("Error: path is empty")
    try:
        await sandbox.write(path, data, executable=await _is_script(sandbox, path, data))
    except SandboxFileError as error:
        raise ToolFailed(f"Error: {error}") from None


async def _find(sandbox: Sandbox, script: str, path: str, *arguments: str) -> ExecResult:
    if "\0" in path or any("\0" in argument for argument in arguments):
        raise ToolFailed("Error: an argument cannot contain a NUL character")
    command = ["sh", "-c", script, "sh", sandbox.workspace, path or ".", *arguments]
    done = await sandbox.exec(command, timeout=SEARCH_SECONDS, environment={"LC_ALL": "C.UTF-8"})
    if done.exit_code == find_scripts.NO_SUCH_PATH:
        raise ToolFailed(f"Error: {path} does not exist; list_files shows the files")
    if done.exit_code == find_scripts.OUTSIDE:
        raise ToolFailed(f"Error: {path} is outside the workspace")
    return done


async def _is_script(sandbox: Sandbox, path: str, data: bytes) -> bool:
    """Is it a script that could be executed before?"""
    if not data.startswith(b"#!"):
        return False
    return (await sandbox.exec(["test", "-x", path], timeout=SEARCH_SECONDS)).exit_code == 0


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that the model wrote
        return text.encode("utf-8", "replace")


def _lock(notes: Notes) -> asyncio.Lock:
    lock = notes.setdefault(_KEY, asyncio.Lock())
    assert isinstance(lock, asyncio.Lock)
    return lock
