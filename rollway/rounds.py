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


class Slice:
    """How many things one round may have. Learned from full rounds: others say nothing of what fits."""

    __slots__ = ("_began", "size")

    def __init__(self) -> None:
        self.size = FIRST_SLICE
        self._began: float | None = None

    def begin(self) -> None:
        """A round begins that may turn out to be full."""
        self._began = time.monotonic()

    def end(self, *, full: bool) -> None:
        """The round that was begun, if any, is over. When it was full, the next has what fits."""
        if full and self._began is not None:
            self.size = fitting(self.size, time.monotonic() - self._began)
        self._began = None


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
        self._slice = Slice()
        self._left = self._slice.size  # of this round's slice
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next: asyncio.Handle | None = None  # the next round, once this one's slice is in use

    async def passed(self) -> None:
        """Go on now, or in one of the next rounds."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._begin_round(loop)
        if self._left:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _begin_round(self, loop: asyncio.AbstractEventLoop) -> None:
        self._slice.begin()
        self._next = loop.call_soon(self._end_round)

    def _end_round(self) -> None:
        self._slice.end(full=not self._left)
        self._left, self._next = self._slice.size, None
        if self._waiting:
            self._begin_round(asyncio.get_running_loop())
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # a task that was cancelled takes no turn
                self._left -= 1
                turn.set_result(None)
