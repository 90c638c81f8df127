"""Says so when fewer workers run than were asked for, and when that changes.

The invariant: nothing is told while the number that runs is the one that was told last, and nothing before a
worker has had time to start.
"""

from __future__ import annotations

import time
from collections.abc import Callable

START_SECONDS = 15.0
"""A number of workers that has stood for so long is not about to change."""


class ShortageWatch:
    """To be asked a few times a second.

    Args:
        asked: workers; 0: there is nothing to watch.
    """

    def __init__(
        self, asked: int, *, seconds: float = START_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._asked, self._seconds, self._clock = asked, seconds, clock
        self._told = asked  # what people believe
        self._running = 0
        self._since = clock()

    def due(self, running: int) -> bool:
        """Is the number of workers that run to be told now?"""
        now = self._clock()
        if running != self._running:
            self._running, self._since = running, now
        if not self._asked or running == self._told or now - self._since < self._seconds:
            return False
        self._told = running
        return True


def shortage_line(asked: int, running: int, free: float | None) -> str:
    """``8 workers asked, 2 run: 2 CPUs free``. ``free``: CPUs; ``None``: it cannot be told."""
    line = f"{asked} worker{'s' * (asked != 1)} asked, {running or 'none'} run{'s' * (running == 1)}"
    if free is None or running == asked:
        return line
    return f"{line}: {free:g} CPU{'s' * (free != 1)} free"
