"""What has ended on a worker and waits for the driver to fetch it.

The invariant: an outcome that was put in is returned once, in order, and nothing that is put in waits for
the driver. It is answered at once after a quiet time, and at most once every `FETCH_SECONDS` while rollouts
end all the time.
"""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from rollway.evaluation.outcomes import Outcome

FETCH_SECONDS = 0.1
"""Between two fetches, while rollouts are in flight that may end meanwhile: an outcome waits no longer."""

FETCH_BYTES = 4 * 2**20
"""Lines of a fetch; one that is longer travels alone."""


class Ended(msgspec.Struct, frozen=True):
    """What came of one job."""

    number: int  # as in `SentJob`
    outcome: Outcome | None
    fault: str = ""  # the traceback, where there is no outcome: the code around the rollout raised

    @property
    def size(self) -> int:
        """Bytes, all but the few beside the lines."""
        if self.outcome is None:
            return len(self.fault)
        recorded = self.outcome.recorded
        more = sum(map(len, self.outcome.exchanges)) + (recorded.size if recorded is not None else 0)
        return len(self.outcome.line) + more


class Outbox:
    """What has ended and was not fetched, the oldest first."""

    def __init__(self) -> None:
        self._ended: deque[Ended] = deque()
        self._size = 0
        self._in_flight = 0
        self._some = asyncio.Event()
        self._no_more_soon = asyncio.Event()  # a batch is full, or nothing is in flight
        self._quiet_until = 0.0  # on the loop's clock

    def begin(self) -> None:
        """One more will end."""
        self._in_flight += 1

    def put(self, ended: Ended) -> None:
        """One has ended."""
        self._in_flight -= 1
        self._ended.append(ended)
        self._size += ended.size
        self._mark()

    async def fetch(self) -> list[Ended]:
        """At least one, as soon as it is due."""
        loop = asyncio.get_running_loop()
        await self._some.wait()
        delay = self._quiet_until - loop.time()
        if delay > 0:
            try:
                async with asyncio.timeout(delay):
                    await self._no_more_soon.wait()
            except TimeoutError:
                pass
        self._quiet_until = loop.time() + FETCH_SECONDS
        return self._batch()

    def _batch(self) -> list[Ended]:
        batch = [self._ended.popleft()]
        size = batch[0].size
        while self._ended and size + self._ended[0].size <= FETCH_BYTES:
            size += self._ended[0].size
            batch.append(self._ended.popleft())
        self._size -= size
        self._mark()
        return batch

    def _mark(self) -> None:
        _set(self._some, bool(self._ended))
        _set(self._no_more_soon, self._size >= FETCH_BYTES or self._in_flight == 0)


def _set(event: asyncio.Event, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
