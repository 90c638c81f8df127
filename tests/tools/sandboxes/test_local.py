"""The local backend: plain processes, bounded and ended with all that they started."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rollway.errors import UserError
from rollway.tools.sandboxes import (
    Sandbox,
    SandboxError,
    SandboxLimits,
    SandboxSpec,
    check_backend,
    open_sandbox,
)
from rollway.tools.sandboxes.orphans import owner_name
from rollway.tools.sandboxes.spec import Backend

MIB = 1 << 20


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    limits = SandboxLimits(output=4 * MIB, file_size=8 * MIB)
    sandbox = await open_sandbox(SandboxSpec(backend="local", limits=limits))
    yield sandbox
    await sandbox.close()


async def test_a_closed_sandbox_leaves_no_folder(sandbox: Sandbox) -> None:
    folder = Path(sandbox.workspace)
    await sandbox.exec("mkdir -p deep/er; chmod 0 deep; touch file; chmod 0 .")
    await sandbox.close()
    await sandbox.close()
    assert not folder.parent.exists()
    with pytest.raises(SandboxError, match="closed"):
        await sandbox.exec("true")


async def test_a_folder_nested_a_thousand_deep_is_removed(sandbox: Sandbox) -> None:
    deep = "import os\nfor _ in range(1100):\n    os.mkdir('d')\n    os.chdir('d')"
    assert (await sandbox.exec(["python3", "-c", deep])).exit_code == 0
    await sandbox.close()
    with pytest.raises(FileNotFoundError):
        os.lstat(sandbox.workspace)


async def test_a_killed_agent_is_a_lost_sandbox_and_what_it_ran_ends(sandbox: Sandbox) -> None:
    waiting = asyncio.ensure_future(sandbox.exec("sleep 1000"))
    parent = "$(ps -o ppid= $(ps -o ppid= $$))"
    with pytest.raises(SandboxError, match="gone"):
        await sandbox.exec(f"kill -9 {parent}")
    with pytest.raises(SandboxError, match="gone"):
        await waiting
    folder = Path(sandbox.workspace).parent
    await sandbox.close()
    assert not folder.exists()


@pytest.mark.parametrize("backend", ["local", "bubblewrap"])
async def test_a_folder_for_sandboxes_that_cannot_be_made_is_told_in_one_line(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if backend == "bubblewrap":
        request.getfixturevalue("bubblewrap")
    (tmp_path / f"rollway-sandboxes-{os.getuid()}").write_text("in the way")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(
        SandboxError,
        match=r"^no folder for sandboxes: .*File exists.*set TMPDIR to another place$",
    ):
        await open_sandbox(SandboxSpec(backend=backend))
    if backend == "bubblewrap":
        with pytest.raises(UserError, match="no folder for sandboxes"):
            check_backend(SandboxSpec(backend=backend))


async def test_a_disk_that_takes_no_workspace_fails_the_start_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await open_sandbox(SandboxSpec(backend="local"))).close()  # what is done once is done
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    base = tmp_path / f"rollway-sandboxes-{os.getuid()}"
    base.mkdir(mode=0o700)
    (base / owner_name()).write_text("in the way")
    with pytest.raises(SandboxError, match="cannot start the sandbox: "):
        await open_sandbox(SandboxSpec(backend="local"))
