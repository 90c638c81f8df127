"""A call is answered at its deadline and costs a thread, never a place. So does a cancelled one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from rollway.tools import ToolPool

Becomes = Callable[[Callable[[], bool]], Awaitable[None]]
LATE = 30.0  # seconds: a loaded machine takes its time, and what hung would take for ever


async def test_a_hung_tool_is_answered_at_its_deadline(gate: threading.Event) -> None:
    with ToolPool(2) as pool:
        started = time.monotonic()
        result = await pool.call(gate.wait, timeout=0.1)
        took = time.monotonic() - started
    assert (result.timed_out, result.ok, result.value, result.error) == (True, False, None, None)
    assert 0.1 <= result.duration <= took < LATE


async def test_time_in_the_queue_does_not_count_towards_the_deadline() -> None:
    with ToolPool(1) as pool:
        slow, quick = await asyncio.gather(pool.call(time.sleep, 0.9), pool.call(time.sleep, 0, timeout=0.8))
    assert slow.ok
    assert quick.ok
    assert quick.queued > 0.8


async def test_a_call_that_waited_has_its_whole_deadline_and_no_more(gate: threading.Event) -> None:
    with ToolPool(1) as pool:
        _, hung = await asyncio.gather(pool.call(time.sleep, 0.3), pool.call(gate.wait, timeout=0.1))
    assert hung.timed_out
    assert hung.queued > 0.1
    assert 0.1 <= hung.duration < LATE


async def test_hung_tools_never_shrink_the_pool(gate: threading.Event, becomes: Becomes) -> None:
    with ToolPool(2) as pool:
        hung = await asyncio.gather(*(pool.call(gate.wait, timeout=0.02) for _ in range(20)))
        assert all(result.timed_out for result in hung)
        assert pool.stats().written_off == 20
        meeting = threading.Barrier(2)
        both = await asyncio.gather(*(pool.call(meeting.wait, 10) for _ in range(2)))
        assert all(result.ok for result in both)
        gate.set()
        await becomes(lambda: pool.stats().written_off == 0)
        assert (pool.stats().late, pool.stats().completed, pool.stats().size) == (20, 2, 2)


async def test_a_late_result_is_discarded_and_counted(gate: threading.Event, becomes: Becomes) -> None:
    with ToolPool(1) as pool:
        result = await pool.call(gate.wait, timeout=0.02)
        assert result.timed_out
        assert pool.stats().late == 0
        gate.set()
        await becomes(lambda: pool.stats().late == 1)
        assert (pool.stats().completed, pool.stats().written_off) == (0, 0)


async def test_a_result_after_the_deadline_is_late_even_when_the_event_loop_was_busy() -> None:
    with ToolPool(1) as pool:
        call = asyncio.create_task(pool.call(time.sleep, 0.1, timeout=0.05))
        await asyncio.sleep(0)
        while not pool.stats().late + pool.stats().completed:
            time.sleep(0.01)  # the loop sees the deadline and the result at the same moment  # noqa: ASYNC251
        result = await call
        assert result.timed_out
        assert result.duration >= 0.1
        assert (pool.stats().late, pool.stats().completed) == (1, 0)


async def test_a_result_before_the_deadline_counts_even_when_the_event_loop_was_busy() -> None:
    with ToolPool(1) as pool:
        call = asyncio.create_task(pool.call(int, timeout=0.5))
        await asyncio.sleep(0)
        while not pool.stats().late + pool.stats().completed:
            time.sleep(0.01)  # noqa: ASYNC251
        time.sleep(0.6)  # past the deadline  # noqa: ASYNC251
        assert (await call).ok


async def test_a_cancelled_call_in_the_queue_never_runs(gate: threading.Event, becomes: Becomes) -> None:
    ran = threading.Event()
    with ToolPool(1) as pool:
        first = asyncio.create_task(pool.call(gate.wait))
        await becomes(lambda: pool.stats().running == 1)
        second = asyncio.create_task(pool.call(ran.set))
        await becomes(lambda: pool.stats().queued == 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert pool.stats().queued == 0
        gate.set()
        await first
        assert (await pool.call(int)).ok
    assert not ran.is_set()


async def test_cancelling_a_running_call_writes_its_thread_off(
    gate: threading.Event, becomes: Becomes
) -> None:
    with ToolPool(1) as pool:
        call = asyncio.create_task(pool.call(gate.wait, timeout=60))
        await becomes(lambda: pool.stats().running == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await pool.call(int)).ok
        assert pool.stats().written_off == 1
        gate.set()
        await becomes(lambda: pool.stats().late == 1)


async def test_cancelling_many_calls_at_once_begins_none_of_those_in_the_queue(
    gate: threading.Event, becomes: Becomes
) -> None:
    began: list[int] = []

    def work(number: int) -> None:
        began.append(number)
        gate.wait()

    with ToolPool(2) as pool:
        calls = [asyncio.create_task(pool.call(work, number)) for number in range(200)]
        await becomes(lambda: len(began) == 2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await pool.call(int)).ok
        assert sorted(began) == [0, 1]


async def test_another_loops_queue_goes_on_after_a_cancel(gate: threading.Event, becomes: Becomes) -> None:
    with ToolPool(1) as pool:
        held = asyncio.create_task(pool.call(gate.wait))
        await becomes(lambda: pool.stats().running == 1)
        elsewhere = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(pool.call(int))))
        await becomes(lambda: pool.stats().queued == 1)
        held.cancel()
        assert (await elsewhere).ok


async def test_300_hung_calls_on_8_threads_are_all_answered_and_a_quick_one_at_once(
    gate: threading.Event,
) -> None:
    with ToolPool(8) as pool:
        started = time.monotonic()
        hung = [asyncio.create_task(pool.call(gate.wait, timeout=0.2)) for _ in range(300)]
        results = await asyncio.gather(*hung)
        took = time.monotonic() - started
        quick = await pool.call(int)
    assert all(result.timed_out for result in results)
    assert all(0.2 <= result.duration < LATE for result in results)
    # 38 rounds of 8; a call is answered at its deadline plus its time in the queue
    assert 38 * 0.2 <= took < 38 * 0.2 + LATE
    assert max(result.queued + result.duration for result in results) <= took
    assert quick.ok
    assert quick.queued + quick.duration < LATE


HUNG_PROCESS = """
import asyncio, threading, time
from rollway.tools import ToolPool

async def main():
    pool = ToolPool(300)
    for_ever = threading.Event()
    results = await asyncio.gather(*(pool.call(for_ever.wait, timeout=0.2) for _ in range(300)))
    assert all(result.timed_out for result in results)
    assert pool.stats().written_off == 300
    assert (await pool.call(int)).ok
    asyncio.ensure_future(pool.call(for_ever.wait))
    await asyncio.sleep(0.05)

asyncio.run(main())
print(time.time(), flush=True)
"""


def test_a_process_with_300_hung_tools_exits_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HUNG_PROCESS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.time() - float(done.stdout) < LATE
