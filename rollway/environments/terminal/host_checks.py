"""Checks that are judged here: a task's ``tests/check.py``, whose ``check_*`` functions are asked in turn.

The invariant: whatever such a function raises over what the policy left is "not solved"; only a sandbox that
is gone is no verdict at all.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

from rollway.environments.terminal.checking import Box, CheckFailed, load_module
from rollway.environments.terminal.verdict import Verdict
from rollway.errors import UserError
from rollway.tools.sandboxes import Sandbox, SandboxError

PREFIX = "check_"

Check = Callable[[Box], Awaitable[None]]


async def judge_here(check_file: Path, sandbox: Sandbox, *, timeout: float) -> Verdict:
    """Ask all checks of a file, each within what is left of ``timeout`` seconds.

    Raises:
        SandboxError: the sandbox is gone.
        ValueError: the file has no check.
    """
    box = Box(sandbox)
    passed: list[str] = []
    failed: dict[str, str] = {}
    deadline = asyncio.get_running_loop().time() + timeout
    for name, check in _checks(load_module(check_file), check_file):
        reason = await _ask(check, box, deadline)
        if reason is None:
            passed.append(name)
        else:
            failed[name] = reason
    return Verdict(reward=0.0 if failed else 1.0, passed=passed, failed=failed)


def look_at(check_file: Path) -> None:
    """See that a file loads and has checks, before a rollout is spent on it.

    Raises:
        UserError: it does not.
    """
    try:
        _checks(load_module(check_file), check_file)
    except Exception as error:
        told = str(error) if isinstance(error, ValueError) else f"{check_file} does not load: {_told(error)}"
        raise UserError(" ".join(told.split())) from error


async def _ask(check: Check, box: Box, deadline: float) -> str | None:
    """Why a check failed; ``None`` when it passed."""
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            await check(box)
    except CheckFailed as error:
        return str(error)
    except SandboxError:
        raise
    except TimeoutError as error:
        return "it did not finish in time" if limit.expired() else _told(error)
    except Exception as error:  # what was left is not of the form that the check reads
        return _told(error)
    return None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _checks(module: ModuleType, file: Path) -> list[tuple[str, Check]]:
    found = [
        (name.removeprefix(PREFIX), value)
        for name, value in vars(module).items()
        if name.startswith(PREFIX) and inspect.iscoroutinefunction(value)
    ]
    if not found:
        raise ValueError(f"{file} has no check; write an async function whose name starts with {PREFIX}")
    return found
