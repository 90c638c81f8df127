"""What the tool pool adds to a call in CPU time, beside asyncio's own threads, and what ten thousand calls
that only sleep do to the event loop: alone, and in real rollouts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.engine import WARM_UP
from benchmarks.measure import Lag, Stopwatch
from benchmarks.options import parser
from benchmarks.runs import run_program
from benchmarks.script import Script
from benchmarks.serving import scripted_server
from rollway.tools import ToolPool

CALLS = 20_000
IN_FLIGHT = 256
SLEEPING = (10_000, 2_048)  # calls, threads; with --full
QUICK = (1_000, 256)
SLEEP = 0.5  # seconds


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
    print(f"ToolPool.call, with a deadline    {bounded:6.1f} us CPU a call")
    print(f"ToolPool.call, without a deadline {unbounded:6.1f} us CPU a call")
    print(f"asyncio.to_thread                 {plain:6.1f} us CPU a call")
    print(f"ratio with a deadline to to_thread {bounded / plain:5.2f}")


async def sleeping_calls(calls: int, threads: int) -> None:
    with ToolPool(threads) as pool:
        async with Lag() as lag:
            watch = Stopwatch()
            done = await asyncio.gather(*(pool.call(time.sleep, SLEEP, timeout=60.0) for _ in range(calls)))
            told = watch.told()
    assert all(result.error is None and not result.timed_out for result in done)
    late, least = lag.told(), -(-calls // threads) * SLEEP
    print(
        f"{calls:,} calls that sleep {SLEEP:g} s on {threads:,} threads:\n"
        f"  {told['wall_s']:.2f} s (at best {least:.2f}), "
        f"{told['cpu_s'] / calls * 1e6:.0f} us CPU a call, loop late {late['lag_max_ms']:.0f} ms at worst, "
        f"{late['lag_p99_ms']:.0f} at the 99th percentile"
    )


def sleeping_rollouts(threads: int) -> None:
    """Rollouts that all begin at once, each with one call that sleeps a second."""
    with scripted_server() as server:
        runs = {
            slow: run_program(
                server,
                "benchmarks.engine",
                Script(32, 1),
                threads,
                threads,
                warm_up=WARM_UP,
                pool=threads,
                slow=slow,
            )
            for slow in (False, True)
        }
    for slow, told in runs.items():
        print(
            f"{threads:,} rollouts at once, a call each that {'sleeps 1 s' if slow else 'returns at once'}:\n"
            f"  {told['wall_s']:.2f} s, {told['cpu_s'] / threads * 1e3:.2f} ms CPU a rollout, loop late "
            f"{told['lag_max_ms']:.0f} ms at worst, {told['lag_p99_ms']:.0f} at the 99th percentile"
        )


def main(argv: list[str]) -> None:
    options = parser("pool", __doc__ or "").parse_args(argv)
    calls, threads = SLEEPING if options.full else QUICK
    asyncio.run(trivial_calls())
    asyncio.run(sleeping_calls(calls, threads))
    sleeping_rollouts(threads)
