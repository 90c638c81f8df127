"""How much work fits into one round of an event loop, so that whatever else is due gets its turn soon.

A loop does all that is ready before it looks at its clock again. Thousands of things that get ready in the
same moment are therefore taken a slice at a time, and how large a slice may be is learned from how long the
rounds take.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

ROUND = 0.01  # seconds that a round should take at most
FIRST_SLICE, SMALLEST_SLICE, LARGEST_SLICE = 32, 16, 256  # things that one round may have


def fitting(size: int, seconds: float) -> int:
    """How large the next slice may be, when the round of the last one took so long."""
    if seconds > ROUND:
        return max(SMALLEST_SLICE, size // 2)
    if seconds < ROUND / 2:
        return min(LARGEST_SLICE, size * 2)
    return size


class Turnstile:
    """Lets the tasks of one event loop go on in the order in which they came, a slice in each round."""

    def __init__(self) -> None:
        self._slice = FIRST_SLICE
        self._left = FIRST_SLICE  # of this round's slice
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._began: float | None = None  # the round whose slice is in use

    async def passed(self) -> None:
        """Go on now, or in one of the next rounds."""
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = time.monotonic()
            loop.call_soon(self._next_round)
        if self._left:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_round(self) -> None:
        now = time.monotonic()
        if self._began is not None and not self._left:
            self._slice = fitting(self._slice, now - self._began)
        self._left, self._began = self._slice, None
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # a task that was cancelled takes no turn
                self._left -= 1
                turn.set_result(None)
        if self._left < self._slice:
            self._began = now
            asyncio.get_running_loop().call_soon(self._next_round)
