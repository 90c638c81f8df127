"""What a burst of calls costs the event loop: it starts no thread, and wakes one of many."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rollway.tools import ToolPool
from rollway.tools import workers as workers_module

Becomes = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Each thread that is started, and by which."""
    seen: list[tuple[str, str]] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        seen.append((thread.name, threading.current_thread().name))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return seen


def by_us(starts: list[tuple[str, str]]) -> list[str]:
    return [name for name, starter in starts if starter == threading.current_thread().name]


async def test_the_event_loop_starts_one_thread_ever_and_that_one_all_others(
    gate: threading.Event, becomes: Becomes, starts: list[tuple[str, str]]
) -> None:
    with ToolPool(20, name="burst") as pool:
        calls = [asyncio.create_task(pool.call(gate.wait)) for _ in range(30)]
        await becomes(lambda: pool.stats().running == 20)
        pool.resize(25)
        await becomes(lambda: pool.stats().running == 25)
        gate.set()
        await asyncio.gather(*calls)
    assert by_us(starts) == ["starter of burst"]
    assert [starter for name, starter in starts[1:]] == ["starter of burst"] * 25


async def test_written_off_threads_are_replaced_without_the_event_loop_starting_one(
    gate: threading.Event, starts: list[tuple[str, str]]
) -> None:
    with ToolPool(2) as pool:
        hung = await asyncio.gather(*(pool.call(gate.wait, timeout=0.02) for _ in range(8)))
        assert all(result.timed_out for result in hung)
        assert (await pool.call(int)).ok
    assert len(by_us(starts)) == 1
    assert len(starts) >= 10


async def test_a_pool_that_runs_nothing_starts_no_thread(starts: list[tuple[str, str]]) -> None:
    with ToolPool(4) as pool:
        pool.resize(8)
        assert (await pool.call(asyncio.sleep, 0)).ok
    assert pool.close(timeout=1)
    assert starts == []


async def test_calls_of_one_round_of_the_event_loop_are_handed_over_together(
    becomes: Becomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakes: list[Any] = []  # by the event loop
    wake = workers_module.Workers._wake

    def noted(workers: Any, worker: Any) -> None:
        if worker is not None and threading.current_thread() is threading.main_thread():
            wakes.append(worker)
        wake(workers, worker)

    async def call(number: int) -> int:
        deadline = time.monotonic() + 60
        while number and not pool.stats().completed and time.monotonic() < deadline:
            time.sleep(0)  # the loop stays in this round until the first call has ended  # noqa: ASYNC251
        return int((await pool.call(int, number)).value)

    monkeypatch.setattr(workers_module.Workers, "_wake", noted)
    with ToolPool(16) as pool:
        calls = [asyncio.create_task(call(number)) for number in range(100)]
        await asyncio.sleep(0)
        assert (pool.stats().completed, pool.stats().queued, len(wakes)) == (1, 99, 1)
        assert await asyncio.gather(*calls) == list(range(100))
    assert len(wakes) == 2


async def test_a_crowd_begins_one_by_one_from_the_starter(
    gate: threading.Event, becomes: Becomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "CROWD", 4)
    asked: list[Any] = []
    ask = workers_module.Starter.ask

    def noted(starter: Any, worker: Any) -> None:
        asked.append(worker.thread)
        ask(starter, worker)

    meeting = threading.Barrier(12)
    with ToolPool(12) as pool:
        await asyncio.gather(*(pool.call(meeting.wait, 60) for _ in range(12)))
        monkeypatch.setattr(workers_module.Starter, "ask", noted)
        calls = [asyncio.create_task(pool.call(gate.wait)) for _ in range(12)]
        await becomes(lambda: pool.stats().running == 12)
        gate.set()
        assert all(result.ok for result in await asyncio.gather(*calls))
    assert len(asked) == 12 - 4
    assert all(isinstance(thread, threading.Thread) for thread in asked)


async def test_of_the_threads_that_a_closing_pool_sends_home_the_event_loop_wakes_one(
    becomes: Becomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> int:
        return sum("going home" in thread.name for thread in threading.enumerate())

    by: list[str] = []
    see_off = workers_module.Workers._see_off

    def noted(workers: Any) -> None:
        if workers._name == "going home":
            by.append(threading.current_thread().name)
        see_off(workers)

    monkeypatch.setattr(workers_module.Workers, "_see_off", noted)
    meeting = threading.Barrier(30)
    pool = ToolPool(30, name="going home")
    await asyncio.gather(*(pool.call(meeting.wait, 60) for _ in range(30)))
    assert threads() == 31  # and the starter
    assert pool.close(timeout=10)
    await becomes(lambda: threads() == 0)
    assert by.count(threading.current_thread().name) == 1
    assert len(by) == 31
