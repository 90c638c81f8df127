"""What one rollout is doing now, and how much of its time it only waited.

The invariant: a moment in which several things are waited for counts once. So working seconds are those that
the rollout needs by itself, whatever else its servers and its machine have to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple


class WaitKind(StrEnum):
    """What a rollout waits for without being at work."""

    POOL = "pool"  # a free thread or process of the tool pool
    CONNECTION = "connection"  # a free connection of the client
    RETRY = "retry"  # model calls that failed, and the pauses after them
    OVERLOAD = "overload"  # a server that has sent calls away (429, 503)
    AWAY = "server_away"  # a server that cannot be reached
    STALL = "stall"  # a server that has the request and stands still
    WEIGHT_UPDATE = "weight_update"  # new weights
    APPROVAL = "approval"  # the decision whether a call may run
    SANDBOX = "sandbox"  # a sandbox that starts


Span = tuple[float, float]
"""Start and end, `time.monotonic()` moments."""


class _Open(NamedTuple):
    """A wait that goes on, as far as is known."""

    kind: WaitKind
    start: float
    ended: Callable[[], float | None]

    def end(self, now: float) -> float:
        """When it ended, or ``now``."""
        known = self.ended()
        return now if known is None else known


class RolloutClock:
    """The time of one rollout. Used on the thread of its event loop; `phase` and `age` from any thread.

    Attributes:
        name: of the rollout, for logs.
        phase: what it is doing, such as ``"model"``, ``"tools"``, ``"setup"`` or ``"reward:exact"``.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.phase = ""
        self.began = self.phase_since = time.monotonic()
        self._spans: dict[WaitKind, list[Span]] = {}
        self._open: dict[object, _Open] = {}

    @contextmanager
    def doing(self, phase: str) -> Iterator[None]:
        """Name what is done in the block. Blocks nest; the inner one names it."""
        before = self.phase
        self.phase, self.phase_since = phase, time.monotonic()
        try:
            yield
        finally:
            self.phase, self.phase_since = before, time.monotonic()

    @contextmanager
    def waiting(self, kind: WaitKind) -> Iterator[None]:
        """The block only waits."""
        wait = self.begin_wait(kind)
        try:
            yield
        finally:
            self.end_wait(wait)

    def begin_wait(
        self, kind: WaitKind, since: float | None = None, ended: Callable[[], float | None] = lambda: None
    ) -> object:
        """A wait that goes on until `end_wait` is given what this returns. ``since``: None is now.

        ``ended`` tells when it ended on another thread, of which nobody tells this one; None: it goes on.
        """
        wait = object()
        self._open[wait] = _Open(kind, time.monotonic() if since is None else since, ended)
        return wait

    def end_wait(self, wait: object, *, keep: bool = True) -> None:
        """The wait is over. ``keep``: it was one; else it counts as if it had never begun."""
        over = self._open.pop(wait)
        if keep:
            self.waited(over.kind, over.start, over.end(time.monotonic()))

    def waited(self, kind: WaitKind, start: float, end: float) -> None:
        """Enter a wait that is over, such as a model call that turned out to have failed."""
        if end > start:
            self._spans.setdefault(kind, []).append((start, end))

    @property
    def waits_now(self) -> frozenset[WaitKind]:
        """What is being waited for at this moment."""
        return frozenset(wait.kind for wait in self._open.values() if wait.ended() is None)

    def waiting_for(self, kinds: Iterable[WaitKind]) -> int:
        """How many waits of ``kinds`` go on at this moment."""
        wanted = set(kinds)
        return sum(wait.kind in wanted and wait.ended() is None for wait in self._open.values())

    def age(self) -> float:
        """Seconds since the rollout began."""
        return time.monotonic() - self.began

    def working(self) -> float:
        """Seconds since it began in which it waited for nothing."""
        now = time.monotonic()
        return now - self.began - self._united(self._all(now), self.began, now)

    def seconds(self) -> dict[str, float]:
        """Seconds of each kind that was waited for, overlaps within a kind united."""
        now = time.monotonic()
        kinds = {*self._spans, *(wait.kind for wait in self._open.values())}
        return {str(kind): self._united(self._of(kind, now), self.began, now) for kind in sorted(kinds)}

    def waited_within(self, start: float, end: float, kinds: Iterable[WaitKind] = tuple(WaitKind)) -> float:
        """Seconds between two moments in which something of ``kinds`` was waited for."""
        now = time.monotonic()
        return self._united([span for kind in kinds for span in self._of(kind, now)], start, end)

    def _of(self, kind: WaitKind, now: float) -> list[Span]:
        running = [(wait.start, wait.end(now)) for wait in self._open.values() if wait.kind is kind]
        return [*self._spans.get(kind, ()), *running]

    def _all(self, now: float) -> list[Span]:
        return [span for kind in WaitKind for span in self._of(kind, now)]

    @staticmethod
    def _united(spans: list[Span], start: float, end: float) -> float:
        total, reached = 0.0, start
        for begin, until in sorted(spans):
            begin, until = max(begin, reached), min(until, end)
            if until > begin:
                total += until - begin
                reached = until
        return total
