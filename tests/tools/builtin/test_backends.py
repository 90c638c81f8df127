"""The same tools on sandboxes of other kinds. What lies in them is made and looked at through them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager

import pytest
from container_image import WITH_BASH

from rollway.errors import UserError
from rollway.tools import ExecutedCall, Tool
from rollway.tools.builtin import file_tools, python_tool, terminal_tool
from rollway.tools.sandboxes import Sandbox, SandboxSpec, check_backend, open_sandbox
from rollway.trajectory import ToolErrorKind

Run = Callable[..., Awaitable[str]]
Execute = Callable[..., Awaitable[ExecutedCall]]
Patience = Callable[[], AbstractContextManager[None]]


@pytest.fixture(params=["bubblewrap"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    spec = SandboxSpec(backend=request.param)
    if request.param == "podman":
        request.getfixturevalue("engine")
        spec = SandboxSpec(backend="podman", image=WITH_BASH)
    try:
        check_backend(spec)
    except UserError as error:
        pytest.skip(str(error))
    opened = await open_sandbox(spec)
    yield opened
    await opened.close()


@pytest.mark.parametrize("sandbox", ["bubblewrap", "podman"], indirect=True)
async def test_the_terminal_keeps_its_state_and_survives_what_is_done_to_it(
    call: Run, sandbox: Sandbox, patience: Patience
) -> None:
    tool = terminal_tool(timeout=100)
    assert await call(tool, command="mkdir a; cd a; x=5; sleep 300 &") == "[exit code 0]"
    assert await call(tool, command="pwd; echo $x") == f"{sandbox.workspace}/a\n5\n[exit code 0]"
    with patience():
        assert "the shell continues" in await call(tool, command="sleep 301", timeout=0.3)
    assert await call(tool, command="echo $x; jobs | grep -c Running") == "5\n1\n[exit code 0]"
    assert "killed with its shell" in await call(tool, command="while :; do :; done", timeout=0.3)
    assert await call(tool, command="basename $PWD; echo x=$x") == "a\nx=\n[exit code 0]"
    assert "exit code 4. A new shell" in await call(tool, command="sleep 300 & exit 4")


async def test_the_interpreter_keeps_its_state(call: Run, patience: Patience) -> None:
    tool, short = python_tool(timeout=100), python_tool(timeout=0.3)
    assert await call(tool, code="x = 5") == "[no output]"
    assert (
        await call(tool, code="import subprocess; subprocess.run(['echo', 'sub']).returncode + x") == "sub\n5"
    )
    with patience():
        assert "variables are kept" in await call(short, code="subprocess.run(['sleep', '300'])")
    assert await call(tool, code="x") == "5"
    assert "The next call starts a new interpreter" in await call(short, code="while True: pass")


async def test_the_file_tools_and_the_terminal_see_the_same_files(call: Run) -> None:
    read, write, edit, listing, search = file_tools()
    await call(write, path="a/run.sh", content="#!/bin/sh\necho one\n")
    assert await call(terminal_tool(), command="chmod +x a/run.sh; a/run.sh") == "one\n[exit code 0]"
    await call(edit, path="a/run.sh", old="one", new="two")
    assert await call(terminal_tool(), command="a/run.sh") == "two\n[exit code 0]"
    assert await call(listing) == "a/\na/run.sh (19 B)"
    assert await call(search, pattern=r"tw\w") == "a/run.sh:2: echo two"
    assert await call(read, path="a/run.sh") == "#!/bin/sh\necho two"


OUTSIDE = (
    "../etc/passwd",
    "/etc/passwd",
    "link",
    "folder/passwd",
    "a/../../etc/passwd",
    "/proc/self/environ",
)


@pytest.mark.parametrize("tool", file_tools(), ids=lambda tool: tool.name)
async def test_no_path_leads_out_of_the_workspace(execute: Execute, sandbox: Sandbox, tool: Tool) -> None:
    await sandbox.exec("mkdir a; ln -s /etc/passwd link; ln -s /etc folder; cp /etc/passwd before")
    more = {"write_file": {"content": "x"}, "edit_file": {"old": "root", "new": "x", "all": True}}
    searched = {"search_files": {"pattern": "root"}}
    for path in OUTSIDE:
        done = await execute(tool, path=path, **(more | searched).get(tool.name, {}))
        assert done.error is not None, path
        assert done.error.kind is ToolErrorKind.TOOL_REPORTED
        assert "root:" not in done.result.content
    assert (await sandbox.exec("cmp before /etc/passwd")).exit_code == 0
