"""Does an event loop still answer? A thread asks it all the time, and knows for how long it has not."""

from __future__ import annotations

import asyncio
import threading

BEAT_SECONDS = 0.5
"""Between two looks at the loop."""


class LoopBeat:
    """Watches a loop from a thread of its own until `close`.

    Time in which the whole process stands still, as in a suspended machine, does not count.

    Attributes:
        lag: seconds for which the loop has not answered; 0 while it does.
        thread: the loop's own, by its identifier; None: it has not run yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, every: float = BEAT_SECONDS) -> None:
        self.lag = 0.0
        self.thread: int | None = None
        self._loop = loop
        self._every = every
        self._answered = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="rollway-beat", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.is_set():
            self._answered.clear()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # the loop is closed
                return
            while not self._answered.is_set() and not self._closed.wait(self._every):
                self.lag += self._every  # counted in steps, so that one long pause is one step
            self.lag = 0.0
            self._closed.wait(self._every)

    def _answer(self) -> None:
        self.thread = threading.get_ident()
        self._answered.set()
