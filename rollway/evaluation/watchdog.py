"""A thread that sees whether an event loop still turns, and says so when it does not.

The invariant: nothing here runs on the loop but one assignment, so code that holds the loop up holds up
neither the thread nor what it says.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from rollway.clock import RolloutClock
from rollway.environments.calling import stack_of

SILENT_SECONDS = 60.0
"""After which a loop that has not turned is told of, and again after each doubling of the time."""

MOST_ROLLOUTS = 5
"""Rollouts that are named."""

_WAITING = frozenset({"", "model", "tools", "keep_results"})
"""Phases in which a rollout runs no code of the environment's on the loop."""

_log = logging.getLogger(__name__)


class Watchdog:
    """Watches the running event loop, from `start` to `stop`. ``tell`` gets one line, on the watchdog's
    thread; the log gets it too, with the place where the loop stands."""

    def __init__(
        self,
        clocks: Callable[[], Sequence[RolloutClock]],
        *,
        tell: Callable[[str], None] | None = None,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._clocks = clocks
        self._tell = tell
        self._silent_seconds = silent_seconds
        self._ended = threading.Event()
        self._turned = 0.0  # when the loop last did

    def start(self) -> Self:
        """Begin. On the loop's thread."""
        self._turned = time.monotonic()
        arguments = (asyncio.get_running_loop(), threading.get_ident())
        threading.Thread(target=self._watch, args=arguments, name="rollway-watchdog", daemon=True).start()
        return self

    def stop(self) -> None:
        """End, without waiting for the thread."""
        self._ended.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        told_at = self._silent_seconds
        asked = turned = 0.0
        while not self._ended.wait(self._silent_seconds / 4):
            if turned != self._turned:  # it has turned since it was last asked
                turned, told_at = self._turned, self._silent_seconds
                asked = time.monotonic()
                try:
                    loop.call_soon_threadsafe(self._note)
                except RuntimeError:  # it is closed
                    return
                continue
            silent = time.monotonic() - asked
            if silent >= told_at:
                told_at *= 2
                self._say(silent, thread)

    def _note(self) -> None:
        self._turned = time.monotonic()

    def _say(self, silent: float, thread: int) -> None:
        told = (
            f"the event loop has not turned for {silent:.0f} s: code that runs on it, such as an async hook "
            f"or tool that blocks, holds up every rollout{self._rollouts()}"
        )
        _log.error("%s; it stands at:\n%s", told, stack_of(thread))
        if self._tell is not None:
            self._tell(f"{told}; see the run's log.txt for the place")

    def _rollouts(self) -> str:
        """Those that may be meant, the one that began its phase last first: it is the likeliest."""
        suspects = [clock for clock in self._clocks() if clock.phase not in _WAITING]
        suspects.sort(key=lambda clock: clock.phase_since, reverse=True)
        named = [f"{clock.name} in {clock.phase}" for clock in suspects[:MOST_ROLLOUTS]]
        return f"; most likely {', '.join(named)}" if named else ""
