"""Weights that change while rollouts run: holding requests back meanwhile, and naming the weights.

The invariant: no request is sent while an update runs, and a reply is labelled with the version that the
server names, or with the one that was in force when it was sent and when it came; where these two differ, the
label says both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from rollway.clock import RolloutClock, WaitKind
from rollway.inference.errors import NoReplyInTime
from rollway.trajectory import VersionSpan

UNNAMED = "default"
"""What vLLM and SGLang call weights that nobody named."""


class UpdateGate:
    """Through which every request of a client goes. ``version`` names the weights, None where nobody does."""

    def __init__(self, version: str | None = None) -> None:
        self.version = version
        self.coming: str | None = None  # the version of the update that runs
        self.closings = 0  # times that it was closed, by a pause or by an update
        self._paused = False
        self._open = asyncio.Event()
        self._open.set()
        self._one_at_a_time = asyncio.Lock()
        self._generations: set[_Generating] = set()

    @contextmanager
    def generating(self, clock: RolloutClock) -> Iterator[None]:
        """The block is one generation. It waits while an update runs, sent or not."""
        generation = _Generating(clock)
        self._generations.add(generation)
        if self.coming is not None:
            generation.pause()
        try:
            yield
        finally:
            self._generations.discard(generation)
            generation.go_on()

    @property
    def closed(self) -> bool:
        """Whether requests wait."""
        return not self._open.is_set()

    def version_after(self, *, aborted: bool) -> str | None:
        """The weights at the end of a generation whose reply has just come. While an update runs these may be
        the new ones; an aborted generation ended before they came."""
        return self.version if aborted or self.coming is None else self.coming

    def pause(self) -> None:
        """Let new requests wait. Those that were sent go on."""
        self._paused = True
        self._close()

    def resume(self) -> None:
        """Let requests go on, once no update runs."""
        self._paused = False
        self._reopen()

    @asynccontextmanager
    async def update(self, version: str) -> AsyncIterator[None]:
        """New requests wait while the block runs; then the weights are called ``version``, if it did not
        raise. One update at a time."""
        async with self._one_at_a_time:
            self.coming = version
            self._close()
            for generation in self._generations:
                generation.pause()
            try:
                yield
                self.version = version
            finally:
                self.coming = None
                for generation in self._generations:
                    generation.go_on()
                self._reopen()

    def _close(self) -> None:
        self.closings += 1
        self._open.clear()

    def _reopen(self) -> None:
        if not self._paused and self.coming is None:
            self._open.set()

    async def passed(self, deadline: float | None, server: str, clock: RolloutClock) -> None:
        """Wait until requests may be sent.

        Raises:
            NoReplyInTime: they may not before the deadline (of `time.monotonic`).
        """
        if not self.closed:
            return
        began = time.monotonic()
        try:
            with clock.waiting(WaitKind.WEIGHT_UPDATE):
                async with asyncio.timeout_at(deadline) as limit:
                    await self._open.wait()
        except TimeoutError:
            if not limit.expired():
                raise
            late = NoReplyInTime(f"pause() or weight_update() held requests to {server} until their deadline")
            late.waiting_for, late.seconds = WaitKind.WEIGHT_UPDATE, time.monotonic() - began
            raise late from None


class _Generating:
    """One generation, and its wait while an update runs."""

    def __init__(self, clock: RolloutClock) -> None:
        self._clock = clock
        self._wait: object | None = None

    def pause(self) -> None:
        self._wait = self._clock.begin_wait(WaitKind.WEIGHT_UPDATE)

    def go_on(self) -> None:
        if self._wait is not None:
            self._clock.end_wait(self._wait)
            self._wait = None


def label_tokens(
    spans: Sequence[VersionSpan], said: str | None, *, count: int, before: str | None, after: str | None
) -> list[VersionSpan]:
    """The versions of ``count`` sampled tokens; empty where nothing is known.

    Args:
        spans: as the server gave them.
        said: the one version that the server named, when its reply was complete.
        before, after: the client's own names for the weights, when the request was sent and the reply came.
    """
    if not count:
        return []
    if spans and not (before is not None and all(span.version == UNNAMED for span in spans)):
        return list(spans)
    end = after if said is None or said == UNNAMED else said
    if end is None:
        end = said
    if end is None:
        return []
    if before is None or before == end:
        return [VersionSpan(end, 0, count)]
    return [VersionSpan(before, 0, count, until=end)]


def join_spans(left: Sequence[VersionSpan], right: Sequence[VersionSpan], at: int) -> list[VersionSpan]:
    """Spans of two parts of one generation; those of ``right`` count from its token ``at``."""
    joined = list(left)
    for span in right:
        moved = VersionSpan(span.version, span.start + at, span.end + at, span.until)
        last = joined[-1] if joined else None
        if last and last.until is None and moved.until is None and last.version == moved.version:
            joined[-1] = VersionSpan(last.version, last.start, moved.end)
        else:
            joined.append(moved)
    return joined
