"""Says so when no rollout ends for long: once when it is noticed, and again while it lasts.

The invariant: one line for each stretch of `QuietTimes.seconds` in which rollouts were in flight and none
ended, and none while rollouts end or nothing is in flight.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from rollway.evaluation.overview import Overview


class QuietTimes(msgspec.Struct, frozen=True):
    """Seconds."""

    seconds: float = 120.0  # without a rollout that ends, before it is told, and between two lines


class QuietWatch:
    """To be asked a few times a second."""

    def __init__(self, times: QuietTimes, clock: Callable[[], float] = time.monotonic) -> None:
        self._times, self._clock = times, clock
        self._ended: int | None = None  # rollouts, at the last look
        self._since = self._told = clock()

    def look(self, ended: int, overview: Overview) -> str | None:
        """What is to be told now, if anything. ``ended``: rollouts that have, so far."""
        now = self._clock()
        if ended != self._ended or not overview.in_flight:
            self._ended = ended
            self._since = self._told = now
            return None
        if now - self._told < self._times.seconds:
            return None
        self._told = now
        return quiet_line(now - self._since, overview)


def quiet_line(seconds: float, overview: Overview) -> str:
    """For how long it has been quiet, and what is known of the reason."""
    parts = [f"{overview.in_flight} in flight"]
    if overview.oldest:
        parts.append(f"the oldest: {overview.oldest[0].told()}")
    parts += overview.troubles(time.time())
    for worker in overview.workers:
        if worker.lag >= 1:
            by = f", held up by {worker.blocker.told()}" if worker.blocker else ""
            parts.append(f"worker {worker.name} has not answered for {worker.lag:.0f} s{by}")
    return f"no rollout has ended for {seconds:.0f} s: {'; '.join(parts)}"
