"""Async tools run on the caller's loop, in tasks of their own, and can neither outstay nor upset it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rollway.tools import ToolPool, async_calls

Becomes = Callable[[Callable[[], bool]], Awaitable[None]]
LATE = 30.0  # seconds: a loaded machine takes its time, and what hung would take a thousand


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


class Doubler:
    async def __call__(self, x: int) -> int:
        return await double(x)

    async def method(self, x: int) -> int:
        return await double(x)


@pytest.mark.parametrize(
    "function", [double, Doubler(), Doubler().method, functools.partial(double), lambda x: double(x)]
)
async def test_an_async_tool_runs_on_the_callers_loop_however_it_is_written(function: Any) -> None:
    with ToolPool(1) as pool:
        result = await pool.call(function, 2, timeout=10)
        assert (result.ok, result.value) == (True, 4)
        assert pool.stats().running_async == 0


async def test_async_tools_are_not_bounded_by_the_pools_size() -> None:
    inside = 0
    all_in = asyncio.Event()

    async def meet() -> None:
        nonlocal inside
        inside += 1
        if inside == 50:
            all_in.set()
        await all_in.wait()

    with ToolPool(1) as pool:
        results = await asyncio.gather(*(pool.call(meet, timeout=10) for _ in range(50)))
        assert all(result.ok for result in results)
        assert pool.stats().completed == 50


async def test_an_async_tool_is_cancelled_at_its_deadline(becomes: Becomes) -> None:
    cleaned = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    with ToolPool(1) as pool:
        result = await pool.call(hang, timeout=0.05)
        assert (result.timed_out, result.ok) == (True, False)
        assert 0.05 <= result.duration < LATE
        await asyncio.wait_for(cleaned.wait(), LATE)
        await becomes(lambda: pool.stats().written_off == 0)
        assert (pool.stats().late, pool.stats().running_async) == (1, 0)


async def test_an_async_tool_that_will_not_be_cancelled_is_left_behind(becomes: Becomes) -> None:
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    with ToolPool(1) as pool:
        result = await pool.call(stubborn, timeout=0.05)
        assert result.timed_out
        assert result.duration < LATE
        assert pool.stats().written_off == 1
        let_go.set()
        await becomes(lambda: pool.stats().late == 1)


def test_a_loop_ends_although_an_async_tool_will_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_calls, "END_SECONDS", 0.05)

    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    async def main() -> None:
        with ToolPool(1) as pool:
            given_up.append((await pool.call(stubborn, timeout=0.01)).timed_out)

    given_up: list[bool] = []
    loop = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    loop.start()
    loop.join(LATE)
    assert given_up == [True]
    assert not loop.is_alive()


def test_a_loop_that_ends_waits_for_a_tool_that_cleans_up_after_its_deadline() -> None:
    cleaned: list[bool] = []

    async def careful() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(True)

    async def main() -> None:
        with ToolPool(1) as pool:
            await pool.call(careful, timeout=0.01)

    asyncio.run(main())
    assert cleaned == [True]


async def test_cancelling_the_caller_cancels_the_tool_and_waits_for_its_cleanup() -> None:
    began, steps = asyncio.Event(), []

    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            steps.append("cleaned")

    with ToolPool(1) as pool:
        before = asyncio.all_tasks()
        call = asyncio.create_task(pool.call(hang))
        await began.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert steps == ["cleaned"]
        assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), TimeoutError()]
)
async def test_whatever_an_async_tool_raises_is_its_result(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with ToolPool(1) as pool:
        result = await pool.call(fail, timeout=10)
    assert (result.ok, result.timed_out, result.error) == (False, False, error)


async def test_an_async_tool_that_cancels_its_own_task_does_not_cancel_the_caller() -> None:
    async def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(10)

    with ToolPool(1) as pool:
        result = await pool.call(give_up)
    assert isinstance(result.error, asyncio.CancelledError)


async def test_a_sync_tool_that_returns_a_coroutine_has_one_deadline_for_both() -> None:
    def slow_then_async() -> Any:
        time.sleep(0.05)
        return asyncio.sleep(1000)

    with ToolPool(1) as pool:
        result = await pool.call(slow_then_async, timeout=0.15)
    assert result.timed_out
    assert 0.15 <= result.duration < LATE
