"""What the tool pool adds to a call in CPU time, beside asyncio's own threads, and what ten thousand calls
that only sleep do to the event loop: alone, and in real rollouts."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

from benchmarks.engine import WARM_UP
from benchmarks.measure import Lag, Stopwatch
from benchmarks.options import medians, parser, repeats, table
from benchmarks.runs import run_program
from benchmarks.script import Script
from benchmarks.serving import scripted_server
from rollway.evaluation.collector import collecting_rarely
from rollway.tools import CallResult, ToolPool

CALLS = 20_000
IN_FLIGHT = 256
SLEEPING = (10_000, 2_048)  # calls, threads; with --full
QUICK = (1_000, 256)
SLEEP = 0.5  # seconds
TOGETHER = 50  # calls made in one round of the loop
SHOWN = {"wall_s": 2, "us": 0, "lag_max_ms": 0, "lag_p99_ms": 0}  # readings, and their decimals
TOLD = {
    "quick": "returns at once, in a thread",
    "async": "returns at once, on the loop",
    "slow": "sleeps 1 s, in a thread",
    "slow async": "sleeps 1 s, on the loop",
}


def trivial() -> int:
    return 1


async def microseconds_per_call(call: Callable[[], Awaitable[object]]) -> float:
    """CPU microseconds of the whole process per call, with `IN_FLIGHT` of them waiting at a time."""

    async def some() -> None:
        for _ in range(CALLS // IN_FLIGHT):
            await call()

    before = time.process_time()
    await asyncio.gather(*(some() for _ in range(IN_FLIGHT)))
    return (time.process_time() - before) / (CALLS // IN_FLIGHT * IN_FLIGHT) * 1e6


async def trivial_calls() -> None:
    with ToolPool(8) as pool:
        bounded = await microseconds_per_call(lambda: pool.call(trivial, timeout=10.0))
        unbounded = await microseconds_per_call(lambda: pool.call(trivial))
    plain = await microseconds_per_call(lambda: asyncio.to_thread(trivial))
    print(f"{IN_FLIGHT} in flight:")
    print(f"ToolPool.call, with a deadline    {bounded:6.1f} us CPU a call")
    print(f"ToolPool.call, without a deadline {unbounded:6.1f} us CPU a call")
    print(f"asyncio.to_thread                 {plain:6.1f} us CPU a call")
    print(f"ratio with a deadline to to_thread {bounded / plain:5.2f}")


async def one_after_another() -> None:
    """What a call costs when nothing else is in flight: two threads wake each other, on cores that sleep.

    How much of it is the machine's is seen where both threads have one core, and by the barest of such calls.
    """
    anywhere = await each_way()
    with on_one_core():
        together = await each_way()
    print("one after another, us CPU a call:   on all cores  on one core")
    for name, reading in anywhere.items():
        print(f"{name:<36}{reading:12.1f}{together[name]:13.1f}")


async def each_way() -> dict[str, float]:
    """CPU microseconds of a call, by what it is made with."""
    with ToolPool(8) as pool:
        ours = await microseconds_each(lambda: pool.call(trivial, timeout=10.0))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(8))
    plain = await microseconds_each(lambda: asyncio.to_thread(trivial))
    with bare_thread() as call:
        bare = await microseconds_each(call)
    return {
        "ToolPool.call, with a deadline": ours,
        "asyncio.to_thread": plain,
        "a queue to a thread, a wake back": bare,
    }


@contextmanager
def bare_thread() -> Iterator[Callable[[], Awaitable[int]]]:
    """The least that it takes to have a thread do something: no context, no deadline, no cancelling."""
    loop = asyncio.get_running_loop()
    asked: SimpleQueue[asyncio.Future[int] | None] = SimpleQueue()

    def work() -> None:
        while (future := asked.get()) is not None:
            loop.call_soon_threadsafe(future.set_result, trivial())

    async def call() -> int:
        future: asyncio.Future[int] = loop.create_future()
        asked.put(future)
        return await future

    thread = threading.Thread(target=work)
    thread.start()
    yield call
    asked.put(None)
    thread.join()


@contextmanager
def on_one_core() -> Iterator[None]:
    """Of this thread, and of those that it starts meanwhile."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


async def microseconds_each(call: Callable[[], Awaitable[object]]) -> float:
    """CPU microseconds of the whole process per call, each made when the one before has ended."""
    before = time.process_time()
    for _ in range(CALLS // 10):
        await call()
    return (time.process_time() - before) / (CALLS // 10) * 1e6


async def sleeping_calls(calls: int, threads: int, *, warm: bool, at_once: bool) -> dict[str, float]:
    """CPU microseconds a call, seconds, and how late the loop was, until the pool is closed.

    Args:
        warm: all threads have been started before.
        at_once: all calls are made in one round of the loop, and else `TOGETHER` in each.
    """

    def call() -> asyncio.Task[CallResult]:
        return asyncio.create_task(pool.call(time.sleep, SLEEP, timeout=60.0))

    with ToolPool(threads) as pool, collecting_rarely():
        if warm:
            await asyncio.gather(*(call() for _ in range(threads)))
        async with Lag() as lag:
            watch = Stopwatch()
            tasks = []
            for number in range(calls):
                tasks.append(call())
                if not at_once and number % TOGETHER == 0:
                    await asyncio.sleep(0)
            done = await asyncio.gather(*tasks)
            told = watch.told()
            pool.close()
    assert all(result.error is None and not result.timed_out for result in done)
    return lag.told() | {"us": told["cpu_s"] / calls * 1e6, "wall_s": told["wall_s"]}


async def waiting_tasks(tasks: int) -> dict[str, float]:
    """What as many tasks, made in one round, do to the loop when no pool has a part in it."""

    async def wait() -> None:
        await asyncio.sleep(SLEEP)

    with collecting_rarely():
        async with Lag() as lag:
            watch = Stopwatch()
            await asyncio.gather(*(asyncio.create_task(wait()) for _ in range(tasks)))
            told = watch.told()
    return lag.told() | {"us": told["cpu_s"] / tasks * 1e6, "wall_s": told["wall_s"]}


def sleeping_table(calls: int, threads: int, times: int) -> None:
    least = -(-calls // threads) * SLEEP
    print(f"{calls:,} calls that sleep {SLEEP:g} s on {threads:,} threads, {least:g} s at best:")
    rows = []
    for name, run in {
        f"threads new, {TOGETHER} calls a round": lambda: sleeping_calls(
            calls, threads, warm=False, at_once=False
        ),
        f"threads there, {TOGETHER} calls a round": lambda: sleeping_calls(
            calls, threads, warm=True, at_once=False
        ),
        "threads new, all calls in one round": lambda: sleeping_calls(
            calls, threads, warm=False, at_once=True
        ),
        "tasks that wait, in one round, no pool": lambda: waiting_tasks(calls),
    }.items():
        told = medians([asyncio.run(run()) for _ in range(times)])
        rows.append([name, *(f"{told[key]:.{digits}f}" for key, digits in SHOWN.items())])
    table(["", "s", "us CPU a call", "late at worst (ms)", "p99"], rows)


def sleeping_rollouts(threads: int, times: int) -> None:
    """Rollouts that all begin at once, with one call each, in a thread and on the loop itself."""
    print(f"{threads:,} rollouts at once, a call each:")
    rows = []
    with scripted_server() as server:
        for tool, name in TOLD.items():
            told = medians(
                [
                    run_program(
                        server,
                        "benchmarks.engine",
                        Script(32, 1),
                        threads,
                        threads,
                        warm_up=WARM_UP,
                        pool=threads,
                        tool=tool,
                    )
                    for _ in range(times)
                ]
            )
            late = (f"{told['lag_max_ms']:.0f}", f"{told['lag_p99_ms']:.0f}")
            rows.append([name, f"{told['wall_s']:.2f}", f"{told['cpu_s'] / threads * 1e3:.2f}", *late])
    table(["", "s", "ms CPU a rollout", "late at worst (ms)", "p99"], rows)


def main(argv: list[str]) -> None:
    options = parser("pool", __doc__ or "").parse_args(argv)
    calls, threads = SLEEPING if options.full else QUICK
    asyncio.run(trivial_calls())
    asyncio.run(one_after_another())
    sleeping_table(calls, threads, repeats(options))
    sleeping_rollouts(threads, repeats(options))
