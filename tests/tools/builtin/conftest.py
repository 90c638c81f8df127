"""A sandbox per test, and a tool called as a model calls it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rollway.tools import ExecutedCall, Tool, ToolPool, ToolRegistry, execute_call
from rollway.tools.builtin import live_process
from rollway.tools.context import RolloutContext
from rollway.tools.sandboxes import Sandbox, SandboxSpec, open_sandbox
from rollway.trajectory import ToolCall


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = await open_sandbox(SandboxSpec(backend="local"))
    yield opened
    await opened.close()


@pytest.fixture
def context(sandbox: Sandbox) -> RolloutContext:
    """One rollout."""
    return RolloutContext(sandbox=sandbox)


@pytest.fixture
def pool() -> Iterator[ToolPool]:
    with ToolPool(8) as made:
        yield made


Call = Callable[..., Awaitable[ExecutedCall]]


@pytest.fixture
def execute(pool: ToolPool, context: RolloutContext) -> Call:
    """``await execute(tool, argument=value)``: the call, answered, in this test's rollout."""

    async def run(tool: Tool, *, tool_timeout: float | None = 100, **arguments: Any) -> ExecutedCall:
        return await execute_call(
            ToolCall("call_1", tool.name, json.dumps(arguments)),
            registry=ToolRegistry([tool]),
            pool=pool,
            turn=1,
            timeout=tool_timeout,
            context=context,
        )

    return run


@pytest.fixture
def call(execute: Call) -> Callable[..., Awaitable[str]]:
    """``await call(tool, argument=value)``: what the model is told."""

    async def run(tool: Tool, **arguments: Any) -> str:
        return (await execute(tool, **arguments)).result.content

    return run


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """``with patience()``: a shell whose command was killed has a minute to answer, and not one second."""

    @contextmanager
    def given() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(live_process, "GRACE", 60.0)
            yield

    return given


@pytest.fixture
def workspace(sandbox: Sandbox) -> Path:
    """The workspace as the host sees it."""
    return Path(sandbox.workspace).resolve()
