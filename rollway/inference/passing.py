"""The calls of one gate: those that wait before it, and the tries that have passed it.

The invariant: what a call waits for is on its rollout's clock at every moment, as one kind of wait.
"""

from __future__ import annotations

import asyncio
import time

from rollway.clock import RolloutClock, WaitKind
from rollway.inference.errors import InferenceError


class Sent:
    """One try that has passed the gate."""

    __slots__ = ("at", "clock", "cut", "limit", "outages", "queued", "regime", "stall")

    def __init__(self, clock: RolloutClock, at: float, regime: int, outages: int) -> None:
        self.clock = clock
        self.at = at  # `time.monotonic()` moment at which it passed
        self.regime = regime
        self.outages = outages  # of the server, until it passed
        self.queued = 0.0  # seconds that it waited for a place, the server being there
        self.limit: asyncio.Timeout | None = None  # of the try that is under way
        self.cut: InferenceError | None = None  # why the gate cut it off
        self.stall: object | None = None  # its wait on the clock

    def cut_off(self, why: InferenceError) -> None:
        """End it now; its limit then counts as reached."""
        self.cut = why
        if self.limit is not None and not self.limit.expired():
            self.limit.reschedule(time.monotonic())

    @property
    def stalled(self) -> bool:
        """Whether the server stands still, as far as is known."""
        return self.stall is not None


class Waiter:
    """One call that waits to pass."""

    __slots__ = ("began", "clock", "kind", "passed", "queued", "wait")

    def __init__(self, clock: RolloutClock, kind: WaitKind, passed: asyncio.Future[Sent]) -> None:
        self.clock = clock
        self.passed = passed
        self.queued = 0.0
        self.kind = kind
        self.began = time.monotonic()
        self.wait = clock.begin_wait(kind)

    def waits_for(self, kind: WaitKind) -> None:
        """From now on it waits for something else."""
        if kind is not self.kind:
            self.over()
            self.kind, self.began = kind, time.monotonic()
            self.wait = self.clock.begin_wait(kind)

    def over(self) -> None:
        """It waits no longer."""
        self.clock.end_wait(self.wait)
        if self.kind in (WaitKind.OVERLOAD, WaitKind.CONNECTION):
            self.queued += time.monotonic() - self.began
