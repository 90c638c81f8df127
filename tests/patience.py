"""Short time limits for tests of time limits, on a machine that may stand still for longer than they are.

Of a request that was given up before it was sent the server sees nothing: it is then made again, with a
longer limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from scripted_server import ScriptedServer

LIMITS = (0.3, 3.0, 30.0)  # seconds


async def with_time_to_arrive(attempt: Callable[[float], Awaitable[bool]]) -> None:
    """Call ``attempt(limit)`` until it returns True: what it is about had begun when the limit ended it."""
    for limit in LIMITS:
        if await attempt(limit):
            return
    pytest.fail(f"nothing arrived within {LIMITS[-1]} s")


async def arrived_and_was_aborted(server: ScriptedServer) -> bool:
    """Did the request that was given up arrive? Then the server is waited for, until nothing of it runs."""
    arrived = bool(server.requests)
    if arrived:
        await server.until(lambda s: s.aborted == 1 and s.running == 0)
    return arrived
