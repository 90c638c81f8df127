"""What the tests of tools share: a gate that hung tools wait at, and a way to wait for a fact."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Tools that are to hang wait here; it opens when the test ends."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def becomes() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """``await becomes(fact)``: wait until ``fact()`` is true, at most a minute."""

    async def wait(fact: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not fact():
            assert time.monotonic() < deadline, "it never became true"
            await asyncio.sleep(0.001)

    return wait
