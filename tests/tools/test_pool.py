"""A pool answers every call exactly once, whatever happens to its size, its threads and its callers."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rollway.statistics import percentiles
from rollway.tools import PoolClosed, ToolPool

Becomes = Callable[[Callable[[], bool]], Awaitable[None]]
PATIENCE = 60  # seconds for threads to meet


class Odd(BaseException):
    pass


def raises(error: BaseException) -> None:
    raise error


async def test_a_value_comes_back_with_its_times() -> None:
    started = time.monotonic()
    with ToolPool(2) as pool:
        result = await pool.call(lambda a, *, b: a + b, 1, b=2)
    took = time.monotonic() - started
    assert (result.ok, result.value, result.error, result.timed_out) == (True, 3, None, False)
    assert 0 <= result.duration <= took
    assert 0 <= result.queued <= took - result.duration


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("boom"),
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        Odd(),
        StopIteration(),
    ],
)
async def test_whatever_a_tool_raises_is_its_result_and_its_thread_lives_on(error: BaseException) -> None:
    with ToolPool(1) as pool:
        before = (await pool.call(threading.get_ident)).value
        result = await pool.call(raises, error)
        assert (result.ok, result.error) == (False, error)
        assert (await pool.call(threading.get_ident)).value == before
        assert pool.stats().completed == 3


async def test_sync_tools_run_at_the_same_time_and_off_the_event_loop() -> None:
    meeting = threading.Barrier(8)
    with ToolPool(8) as pool:
        results = await asyncio.gather(*(pool.call(meeting.wait, PATIENCE) for _ in range(8)))
        assert sorted(result.value for result in results) == list(range(8))
        assert (await pool.call(threading.get_ident)).value != threading.get_ident()


async def test_no_more_calls_run_at_a_time_than_the_pool_is_large() -> None:
    running, most = 0, 0
    lock = threading.Lock()
    meeting = threading.Barrier(3)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meeting.wait(PATIENCE)
        time.sleep(0.002)
        with lock:
            running -= 1

    with ToolPool(3) as pool:
        results = await asyncio.gather(*(pool.call(work) for _ in range(60)))
    assert all(result.ok for result in results)
    assert most == 3


async def test_time_in_the_queue_is_measured_apart(gate: threading.Event, becomes: Becomes) -> None:
    with ToolPool(1) as pool:
        asked = time.monotonic()
        first = asyncio.create_task(pool.call(gate.wait))
        await becomes(lambda: pool.stats().running == 1)
        before_it_ran = time.monotonic() - asked  # at most
        second = asyncio.create_task(pool.call(int))
        await becomes(lambda: pool.stats().queued == 1)
        await asyncio.sleep(0.1)
        opened = time.monotonic()
        gate.set()
        results = await asyncio.gather(first, second)
        after_the_gate = time.monotonic() - opened
    assert results[0].duration >= 0.1
    assert results[0].queued <= before_it_ran
    assert results[1].queued >= 0.1
    assert results[1].duration <= after_the_gate
    assert pool.stats().wait_p99 == percentiles([result.queued for result in results], [99])[0]


async def test_growing_starts_queued_calls_at_once(gate: threading.Event, becomes: Becomes) -> None:
    with ToolPool(1) as pool:
        calls = [asyncio.create_task(pool.call(gate.wait)) for _ in range(10)]
        await becomes(lambda: (pool.stats().running, pool.stats().queued) == (1, 9))
        pool.resize(8)
        await becomes(lambda: (pool.stats().running, pool.stats().queued) == (8, 2))
        assert pool.stats().size == 8
        gate.set()
        assert all(result.value for result in await asyncio.gather(*calls))


async def test_shrinking_interrupts_nothing_and_drops_nothing(
    gate: threading.Event, becomes: Becomes
) -> None:
    busy = threading.Semaphore(0)
    with ToolPool(8) as pool:
        running = [asyncio.create_task(pool.call(gate.wait)) for _ in range(8)]
        await becomes(lambda: pool.stats().running == 8)
        queued = [asyncio.create_task(pool.call(busy.acquire)) for _ in range(6)]
        await becomes(lambda: pool.stats().queued == 6)
        pool.resize(2)
        assert pool.stats().running == 8
        gate.set()
        assert all(result.ok for result in await asyncio.gather(*running))
        await becomes(lambda: (pool.stats().running, pool.stats().queued) == (2, 4))
        busy.release(6)
        assert all(result.ok for result in await asyncio.gather(*queued))


async def test_idle_threads_end_when_the_pool_shrinks_and_when_it_closes(becomes: Becomes) -> None:
    def threads() -> int:
        return sum(thread.name.startswith("shrinking-") for thread in threading.enumerate())

    meeting = threading.Barrier(6)
    pool = ToolPool(6, name="shrinking")
    await asyncio.gather(*(pool.call(meeting.wait, PATIENCE) for _ in range(6)))
    assert threads() == 6
    pool.resize(2)
    await becomes(lambda: threads() == 2)
    assert pool.close(timeout=10)
    await becomes(lambda: threads() == 0)


@pytest.mark.parametrize("size", [0, -1])
async def test_a_pool_has_at_least_one_worker(size: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 worker, got {size}"):
        ToolPool(size)
    with ToolPool(1) as pool, pytest.raises(ValueError, match="at least 1 worker"):
        pool.resize(size)


async def test_context_variables_reach_the_tool_and_its_changes_do_not_come_back() -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")

    def ask_and_change() -> str:
        asked = who.get()
        who.set("the tool")
        return asked

    async def ask_and_change_async() -> str:
        return ask_and_change()

    async def as_caller(name: str) -> list[str]:
        who.set(name)
        return [(await pool.call(function)).value for function in (ask_and_change, ask_and_change_async)] + [
            who.get()
        ]

    with ToolPool(1) as pool:
        assert await asyncio.gather(as_caller("a"), as_caller("b")) == [["a"] * 3, ["b"] * 3]


async def test_a_function_may_have_parameters_of_any_name() -> None:
    def echo(self: int, function: int, timeout: float) -> tuple[int, int, float]:
        return self, function, timeout

    with ToolPool(1) as pool:
        assert (await pool.call(functools.partial(echo, 1, 2, timeout=3), timeout=9)).value == (1, 2, 3)
        assert (await pool.call(echo, self=1, function=2, timeout=9)).error.__class__ is TypeError


def test_one_pool_serves_several_event_loops_at_once_from_any_thread() -> None:
    meeting = threading.Barrier(4)
    answers: list[Any] = []

    async def several(number: int) -> list[Any]:
        first = await pool.call(meeting.wait, PATIENCE)  # passes only when all four loops are in the pool
        rest = await asyncio.gather(*(pool.call(lambda n=n: n, timeout=PATIENCE) for n in range(50)))
        return [first.ok, number, *(result.value for result in rest)]

    with ToolPool(4) as pool:
        threads = [
            threading.Thread(target=lambda n=n: answers.append(asyncio.run(several(n)))) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        stats = pool.stats()
    assert sorted(answer[1] for answer in answers) == [0, 1, 2, 3]
    assert all(answer[0] and answer[2:] == list(range(50)) for answer in answers)
    assert (stats.running, stats.queued, stats.completed) == (0, 0, 204)


def test_a_pool_outlives_an_event_loop_that_left_calls_behind(gate: threading.Event) -> None:
    pool = ToolPool(1)
    loop = asyncio.new_event_loop()
    left = loop.create_task(pool.call(gate.wait))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    gate.set()
    assert asyncio.run(pool.call(int)).value == 0
    assert not left.done()
    del left
    assert pool.close(timeout=10)


async def test_two_pools_share_nothing(gate: threading.Event, becomes: Becomes) -> None:
    with ToolPool(1) as one, ToolPool(1) as two:
        held = asyncio.create_task(one.call(gate.wait))
        await becomes(lambda: one.stats().running == 1)
        assert (await two.call(int)).ok
        assert (two.stats().completed, one.stats().completed) == (1, 0)
        gate.set()
        await held


async def test_closing_answers_queued_calls_and_lets_running_ones_go_on(
    gate: threading.Event, becomes: Becomes
) -> None:
    pool = ToolPool(1)
    running = asyncio.create_task(pool.call(gate.wait))
    await becomes(lambda: pool.stats().running == 1)
    queued = [asyncio.create_task(pool.call(int)) for _ in range(5)]
    await becomes(lambda: pool.stats().queued == 5)
    assert not pool.close()
    for result in await asyncio.gather(*queued):
        assert isinstance(result.error, PoolClosed)
        assert not result.ok
    assert not running.done()
    gate.set()
    assert (await running).value is True
    assert pool.close(timeout=10)


async def test_a_call_on_a_closed_pool_raises_what_to_do() -> None:
    async with ToolPool(1) as pool:
        await pool.call(int)
    for function in (int, asyncio.sleep):
        with pytest.raises(PoolClosed, match="make a new one"):
            await pool.call(function, 0)


async def test_when_the_system_has_no_more_threads_the_pool_makes_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with ToolPool(4) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            results = await asyncio.gather(*(pool.call(int) for _ in range(3)))
            assert {str(result.error) for result in results} == {
                "cannot start a thread for the tool: can't start new thread"
            }
        assert (await pool.call(int)).ok
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            results = await asyncio.gather(*(pool.call(int) for _ in range(20)))
            assert all(result.ok for result in results)


async def test_a_call_behind_a_thread_that_cannot_be_started_is_run_by_one_that_is_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = threading.Event()

    def refuse_late(thread: threading.Thread) -> None:
        refused.wait(60)
        raise RuntimeError("can't start new thread")

    with ToolPool(2) as pool:
        assert (await pool.call(int)).ok  # one thread there is, and the one that starts threads
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse_late)
            await asyncio.gather(*(pool.call(time.sleep, 0.01) for _ in range(2)))  # has a second one started
            behind = asyncio.create_task(pool.call(int))
            for _ in range(10):  # rounds of the loop, in which the pool has seen to its queue
                await asyncio.sleep(0)
            refused.set()
            assert (await asyncio.wait_for(behind, 60)).ok


async def test_wait_percentiles_are_of_the_queue() -> None:
    with ToolPool(1) as pool:
        assert (pool.stats().wait_p50, pool.stats().wait_p99) == (0.0, 0.0)
        results = await asyncio.gather(*(pool.call(time.sleep, 0.001) for _ in range(100)))
        stats = pool.stats()
    waits = percentiles([result.queued for result in results], [50, 90, 99])
    assert [stats.wait_p50, stats.wait_p90, stats.wait_p99] == waits


async def test_2000_sleeping_calls_on_a_pool_grown_live_lose_no_result_and_use_all_of_it(
    becomes: Becomes,
) -> None:
    meeting = threading.Barrier(512)

    def work(number: int) -> int:
        if number < 976:
            time.sleep(0.005)
        else:
            meeting.wait(PATIENCE)  # which two times 512 pass, if 512 are there at a time
        return number

    with ToolPool(16) as pool:
        calls = asyncio.gather(*(pool.call(work, number) for number in range(2000)))
        await becomes(lambda: pool.stats().completed >= 64)
        pool.resize(512)
        results = await calls
    assert [result.value for result in results] == list(range(2000))
    assert all(result.ok for result in results)


@pytest.mark.parametrize("seed", range(6))
async def test_every_call_is_answered_once_through_resizes_deadlines_and_cancels(seed: int) -> None:
    dice = random.Random(seed)
    ran: list[int] = []

    def work(number: int, seconds: float) -> int:
        time.sleep(seconds)
        ran.append(number)
        return number

    async def work_async(number: int, seconds: float) -> int:
        await asyncio.sleep(seconds)
        ran.append(number)
        return number

    async def resize() -> None:
        for _ in range(20):
            pool.resize(dice.randint(1, 12))
            await asyncio.sleep(0.004)

    with ToolPool(4) as pool:
        calls = [
            asyncio.create_task(
                pool.call(
                    dice.choice([work, work, work_async]),
                    number,
                    dice.choice([0, 0.001, 0.01, 0.03]),
                    timeout=dice.choice([None, 0.005, 0.02]),
                )
            )
            for number in range(300)
        ]
        resizing = asyncio.create_task(resize())
        for call in dice.sample(calls, 60):
            await asyncio.sleep(0.001)
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await resizing
        values = []
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, asyncio.CancelledError):
                continue
            assert not isinstance(outcome, BaseException)
            assert outcome.timed_out or outcome.value == number
            values += [number] if outcome.ok else []
        while pool.stats().written_off:
            await asyncio.sleep(0.001)
        stats = pool.stats()
        assert (stats.running, stats.running_async, stats.queued) == (0, 0, 0)
        assert set(values) <= set(ran)
        assert len(ran) == len(set(ran))
        assert stats.completed >= len(values)
