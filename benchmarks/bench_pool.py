"""What the tool pool adds to a call, in CPU time, beside asyncio's own threads in the same run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from rollway.tools import ToolPool

CALLS = 20_000
IN_FLIGHT = 256


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


async def measure() -> None:
    with ToolPool(8) as pool:
        bounded = await microseconds_per_call(lambda: pool.call(trivial, timeout=10.0))
        unbounded = await microseconds_per_call(lambda: pool.call(trivial))
    plain = await microseconds_per_call(lambda: asyncio.to_thread(trivial))
    print(f"ToolPool.call, with a deadline    {bounded:6.1f} us CPU a call")
    print(f"ToolPool.call, without a deadline {unbounded:6.1f} us CPU a call")
    print(f"asyncio.to_thread                 {plain:6.1f} us CPU a call")
    print(f"ratio with a deadline to to_thread {bounded / plain:5.2f}")


def main() -> None:
    asyncio.run(measure())
