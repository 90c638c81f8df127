"""A container engine that hangs keeps nobody waiting, and leaves no client behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rollway.tools.sandboxes.container_engine import tell_engine
from rollway.tools.sandboxes.protocol import SandboxError


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client that never ends; the file has its process id."""
    engine = tmp_path / "podman"
    engine.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/pid.part; mv {tmp_path}/pid.part {tmp_path}/pid\nexec sleep 600\n"
    )
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "pid"


def runs(file: Path) -> bool:
    """Has the client begun, and not ended? One that nobody has waited for has no command line any more."""
    line = Path(f"/proc/{int(file.read_text())}/cmdline")
    return line.exists() and line.read_bytes() != b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_client_that_does_not_end_is_killed(hanging: Path) -> None:
    with pytest.raises(SandboxError, match=r"podman rm did not end within 0\.5 s"):
        await tell_engine(["podman", "rm", "x"], patience=0.5)
    await until(lambda: not runs(hanging))


async def test_what_a_cancelled_caller_asked_for_goes_on_until_its_time_is_over(hanging: Path) -> None:
    asked = asyncio.create_task(tell_engine(["podman", "rm", "x"], patience=0.5))
    await until(hanging.exists)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await until(lambda: not runs(hanging))
