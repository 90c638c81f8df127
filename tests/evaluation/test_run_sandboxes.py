"""The sandboxes of a worker: a record waits for none to close, and a worker for none that never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rollway import Environment
from rollway.environments.calling import Hooks, hook_threads
from rollway.evaluation.config import SandboxConfig
from rollway.evaluation.run_sandboxes import RunSandboxes
from rollway.tools.sandboxes import SandboxSpec
from rollway.tools.sandboxes.pools import SandboxPools

TASK = {"task_id": "t"}


class Stuck:
    """A sandbox that closes when it is let."""

    closed = False

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def close(self) -> None:
        await self.let.wait()
        self.closed = True


class Boxed(Environment):
    sandbox = SandboxSpec(backend="local")


@pytest.fixture
async def opened() -> list[Stuck]:
    return []


@pytest.fixture
async def make(opened: list[Stuck]) -> AsyncIterator[Any]:
    async def open_stuck(spec: SandboxSpec) -> Any:
        opened.append(Stuck())
        return opened[-1]

    async def prepare(spec: SandboxSpec) -> None:
        pass

    def make(most: int | None = None, **options: Any) -> RunSandboxes:
        made = RunSandboxes(SandboxConfig(most=most), Hooks(pool, timeout=60.0), **options)
        made._pools = SandboxPools(most=most, open=open_stuck, prepare=prepare)
        return made

    with hook_threads(2) as pool:
        yield make


async def test_releasing_does_not_wait_until_it_is_closed(make, opened) -> None:
    sandboxes = make()
    sandbox = await sandboxes.open_for(Boxed(), TASK)
    async with asyncio.timeout(30):
        await sandboxes.release(sandbox)
    assert not opened[0].closed
    opened[0].let.set()
    await sandboxes.close()
    assert opened[0].closed


async def test_one_that_never_closes_is_given_up_and_told_of(make, caplog) -> None:
    sandboxes = make(most=1, close_seconds=0.05)
    await sandboxes.release(await sandboxes.open_for(Boxed(), TASK))
    async with asyncio.timeout(30):  # its place is free again
        await sandboxes.open_for(Boxed(), TASK)
    assert sandboxes.close_failed == 1
    assert "a sandbox has not closed within 0.05 s" in caplog.text


async def test_those_that_close_count_as_there(make, opened) -> None:
    sandboxes = make(most=1)
    await sandboxes.release(await sandboxes.open_for(Boxed(), TASK))
    second = asyncio.create_task(sandboxes.open_for(Boxed(), TASK))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not second.done()
    opened[0].let.set()
    async with asyncio.timeout(30):
        await second


async def test_no_other_is_opened_while_too_many_close(make, opened) -> None:
    sandboxes = make(closing_at_most=2)
    for _ in range(2):
        await sandboxes.release(await sandboxes.open_for(Boxed(), TASK))
    third = asyncio.create_task(sandboxes.open_for(Boxed(), TASK))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not third.done()
    opened[0].let.set()
    async with asyncio.timeout(30):
        await third


async def test_closing_the_worker_does_not_wait_for_one_that_never_closes(make, caplog) -> None:
    sandboxes = make(end_seconds=0.05)
    await sandboxes.open_for(Boxed(), TASK)
    await sandboxes.release(await sandboxes.open_for(Boxed(), TASK))
    async with asyncio.timeout(30):
        await sandboxes.close()
    assert "sandboxes have not closed within 0.05 s" in caplog.text


async def test_a_sandbox_for_that_raises_is_raised(make) -> None:
    class Odd(Boxed):
        def sandbox_for(self, task: Any) -> SandboxSpec:
            raise KeyError("missing")

    with pytest.raises(KeyError):
        await make().open_for(Odd(), TASK)
