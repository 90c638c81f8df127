"""What one rollout is doing now, and how much of its time it only waited.

The invariant: a moment in which several things are waited for counts once, and things that are done side by
side count as the longest of them, each without its own waits. So working seconds are those that the rollout
needs by itself, whatever else its servers and its machine have to do, and however many threads they have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
    lane: Lane | None

    def end(self, now: float) -> float:
        """When it ended, or ``now``."""
        known = self.ended()
        return now if known is None else known


def _not_known() -> None:
    """When a wait ended of which nobody but `RolloutClock.end_wait` tells."""


class Lane:
    """One of several things that a rollout does side by side, such as a turn's calls. It waits by itself."""

    __slots__ = ("_clock", "began", "ended", "spans")

    def __init__(self, clock: RolloutClock) -> None:
        self._clock = clock
        self.began = time.monotonic()
        self.ended: float | None = None
        self.spans: list[Span] = []  # waits that are over

    def waiting(self, kind: WaitKind) -> AbstractContextManager[None]:
        """As `RolloutClock.waiting`."""
        return _Waiting(self, kind)

    def begin_wait(
        self, kind: WaitKind, since: float | None = None, ended: Callable[[], float | None] = _not_known
    ) -> object:
        """As `RolloutClock.begin_wait`."""
        return self._clock.begin_wait(kind, since, ended, lane=self)

    def end_wait(self, wait: object, *, keep: bool = True) -> None:
        """As `RolloutClock.end_wait`."""
        self._clock.end_wait(wait, keep=keep)

    def changed(self) -> None:
        """As `RolloutClock.changed`."""
        self._clock.changed()


class _SideBySide(NamedTuple):
    """Lanes that have all ended."""

    start: float
    end: float
    working: float  # of the lane that worked longest


class RolloutClock:
    """The time of one rollout. Used on the thread of its event loop; `phase` and `age` from any thread.

    Attributes:
        name: of the rollout, for logs.
        phase: what it is doing, such as ``"model"``, ``"tools"``, ``"setup"`` or ``"reward:exact"``.
        on_change: called when a wait or a lane ends, after which `left` may be less; None: nobody asks.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.phase = ""
        self.began = self.phase_since = time.monotonic()
        self._spans: dict[WaitKind, list[Span]] = {}
        self._open: dict[object, _Open] = {}
        self._lanes: list[Lane] = []  # since there was none that had not ended
        self._lanes_open = 0
        self._side_by_side: list[_SideBySide] = []
        self._rests: list[Span] = []
        self._resting_since: float | None = None
        self.on_change: Callable[[], None] | None = None

    def doing(self, phase: str) -> AbstractContextManager[None]:
        """Name what is done in the block. Blocks nest; the inner one names it."""
        return _Doing(self, phase)

    def waiting(self, kind: WaitKind) -> AbstractContextManager[None]:
        """The block only waits."""
        return _Waiting(self, kind)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """What the block does is neither a wait nor the work of the model and its tools, such as a hook's."""
        self._resting_since = time.monotonic()
        try:
            yield
        finally:
            self._rests.append((self._resting_since, time.monotonic()))
            self._resting_since = None
            self.changed()

    @contextmanager
    def lane(self) -> Iterator[Lane]:
        """What the block does is done side by side with other lanes that are open, and waits by itself."""
        lane = Lane(self)
        self._lanes.append(lane)
        self._lanes_open += 1
        try:
            yield lane
        finally:
            lane.ended = time.monotonic()
            self._lanes_open -= 1
            if not self._lanes_open:
                worked = self._worked_side_by_side(lane.ended)
                self._side_by_side.append(_SideBySide(self._lanes[0].began, lane.ended, worked))
                self._lanes = []
            self.changed()

    def begin_wait(
        self,
        kind: WaitKind,
        since: float | None = None,
        ended: Callable[[], float | None] = _not_known,
        *,
        lane: Lane | None = None,
    ) -> object:
        """A wait that goes on until `end_wait` is given what this returns. ``since``: None is now.

        ``ended`` tells when it ended on another thread, of which nobody tells this one; None: it goes on.
        ``lane``: which waits alone; None: the whole rollout does.
        """
        wait = object()
        self._open[wait] = _Open(kind, time.monotonic() if since is None else since, ended, lane)
        return wait

    def end_wait(self, wait: object, *, keep: bool = True) -> None:
        """The wait is over. ``keep``: it was one; else it counts as if it had never begun."""
        over = self._open.pop(wait)
        if keep:
            end = over.end(time.monotonic())
            self.waited(over.kind, over.start, end)
            if over.lane is not None and end > over.start:
                over.lane.spans.append((over.start, end))
        self.changed()

    def changed(self) -> None:
        """Something that was waited for is there, or something has ended."""
        if self.on_change is not None:
            self.on_change()

    def waited(self, kind: WaitKind, start: float, end: float) -> None:
        """Enter a wait that is over, such as a model call that turned out to have failed."""
        if end > start:
            self._spans.setdefault(kind, []).append((start, end))

    @property
    def waits_now(self) -> frozenset[WaitKind]:
        """What is being waited for at this moment."""
        return frozenset(wait.kind for wait in self._open.values() if wait.ended() is None)

    @property
    def lanes_at_work(self) -> int:
        """How many lanes are open and wait for nothing at this moment."""
        return len(self._at_work())

    def age(self) -> float:
        """Seconds since the rollout began."""
        return time.monotonic() - self.began

    def working(self) -> float:
        """Seconds since it began in which it neither waited nor rested; of lanes, the most of any."""
        return self._working(time.monotonic())

    def left(self, working: float) -> float | None:
        """How soon `working` may be so many seconds; ``None``: not before a wait is over."""
        now = time.monotonic()
        worked = self._working(now)
        if worked >= working:
            return 0.0
        if not self._lanes_open:
            still = self._resting_since is not None or self.waits_now
            return None if still else working - worked
        spare = working - worked + self._worked_side_by_side(now)
        return min(
            (spare - _worked(lane, self._waits_of(lane, now), now) for lane in self._at_work()), default=None
        )

    def seconds(self) -> dict[str, float]:
        """Seconds of each kind that was waited for, overlaps within a kind united."""
        now = time.monotonic()
        kinds = {*self._spans, *(wait.kind for wait in self._open.values())}
        return {str(kind): _united(self._of(kind, now), self.began, now) for kind in sorted(kinds)}

    def waited_within(self, start: float, end: float, kinds: Iterable[WaitKind] = tuple(WaitKind)) -> float:
        """Seconds between two moments in which something of ``kinds`` was waited for."""
        now = time.monotonic()
        return _united([span for kind in kinds for span in self._of(kind, now)], start, end)

    def _working(self, now: float) -> float:
        idle = [span for spans in self._spans.values() for span in spans]
        idle += [(wait.start, wait.end(now)) for wait in self._open.values()]
        idle += [(each.start, each.end) for each in self._side_by_side] + self._rests
        if self._resting_since is not None:
            idle.append((self._resting_since, now))
        worked = sum(each.working for each in self._side_by_side)
        if self._lanes:
            idle.append((self._lanes[0].began, now))
            worked += self._worked_side_by_side(now)
        return now - self.began - _united(idle, self.began, now) + worked

    def _worked_side_by_side(self, now: float) -> float:
        """Of the lanes since there was none."""
        return max((_worked(lane, self._waits_of(lane, now), now) for lane in self._lanes), default=0.0)

    def _at_work(self) -> list[Lane]:
        waiting = {id(wait.lane) for wait in self._open.values() if wait.ended() is None}
        return [lane for lane in self._lanes if lane.ended is None and id(lane) not in waiting]

    def _waits_of(self, lane: Lane, now: float) -> list[Span]:
        return [(wait.start, wait.end(now)) for wait in self._open.values() if wait.lane is lane]

    def _of(self, kind: WaitKind, now: float) -> list[Span]:
        running = [(wait.start, wait.end(now)) for wait in self._open.values() if wait.kind is kind]
        return [*self._spans.get(kind, ()), *running]


class _Doing:
    """A block of `RolloutClock.doing`. A class: a generator costs thrice, and there are dozens."""

    __slots__ = ("_before", "_clock", "_phase")

    def __init__(self, clock: RolloutClock, phase: str) -> None:
        self._clock, self._phase, self._before = clock, phase, ""

    def __enter__(self) -> None:
        clock = self._clock
        self._before = clock.phase
        clock.phase, clock.phase_since = self._phase, time.monotonic()

    def __exit__(self, *exception: object) -> None:
        self._clock.phase, self._clock.phase_since = self._before, time.monotonic()


class _Waiting:
    """A block of `RolloutClock.waiting`, or of a lane's."""

    __slots__ = ("_clock", "_kind", "_wait")

    def __init__(self, clock: RolloutClock | Lane, kind: WaitKind) -> None:
        self._clock, self._kind = clock, kind
        self._wait: object = None

    def __enter__(self) -> None:
        self._wait = self._clock.begin_wait(self._kind)

    def __exit__(self, *exception: object) -> None:
        self._clock.end_wait(self._wait)


def _worked(lane: Lane, open_waits: list[Span], now: float) -> float:
    end = now if lane.ended is None else lane.ended
    return end - lane.began - _united(lane.spans + open_waits, lane.began, end)


def _united(spans: list[Span], start: float, end: float) -> float:
    """Seconds between two moments that stand in at least one of the spans."""
    total, reached = 0.0, start
    for begin, until in sorted(spans):
        begin, until = max(begin, reached), min(until, end)
        if until > begin:
            total += until - begin
            reached = until
    return total
