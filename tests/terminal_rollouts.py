"""Rollouts of the terminal environment without a model: what a policy would have run, run at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rollway.environments.terminal.environment import TerminalEnvironment
from rollway.environments.terminal.judging import check
from rollway.environments.terminal.verdict import Verdict
from rollway.tools.sandboxes import Sandbox, SandboxSpec, open_sandbox

BACKEND = "local"


def solution_of(environment: TerminalEnvironment, task_id: str) -> str:
    """The reference solution, as one command."""
    return (environment.folder({"task_id": task_id}).path / "solution" / "solve.sh").read_text()


@asynccontextmanager
async def prepared(environment: TerminalEnvironment, task_id: str) -> AsyncIterator[Sandbox]:
    """A sandbox with the task's files."""
    sandbox = await open_sandbox(SandboxSpec(backend=BACKEND))
    try:
        await environment.prepare_sandbox({"task_id": task_id}, sandbox)
        yield sandbox
    finally:
        await sandbox.close()


async def verdict_after(environment: TerminalEnvironment, task_id: str, *commands: str) -> Verdict:
    """What the check says after these commands."""
    async with prepared(environment, task_id) as sandbox:
        for command in commands:
            await sandbox.exec(command, timeout=30.0)
        return await check(environment.folder({"task_id": task_id}), sandbox)
