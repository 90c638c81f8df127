"""The two clocks that limit a rollout, and what it means where one of them cuts in.

The invariant: a rollout is scored at a deadline only where the policy, and not what it waited for, used up
the time. What is scored and what is a failure is decided in `judged`, and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from rollway.clock import RolloutClock, WaitKind
from rollway.limits import Limits

LEAST_NOTED = 0.001  # seconds
LEAST_TIMER = 0.001  # seconds; waits that end late give time back in slices that may be as small as they like
LOOK_AGAIN = (
    0.25  # seconds from look to look at a clock that stands still, where nobody tells that it goes on
)


class ClockKind(StrEnum):
    """Which clock of the limits."""

    WALL = "timeout"
    WORKING = "working_timeout"


class Judgement(StrEnum):
    """What a rollout that was cut is."""

    SCORED = "scored"  # the policy used up its time
    NO_REPLY = "NoReplyInTime"  # a failure: no reply came, and nobody knows whether one was on its way
    POOL_STARVED = "PoolStarved"  # a failure: the calls were waiting for a free thread or process
    HOOK_LATE = "TimeoutError"  # a failure: the environment, or the engine, was at it
    UNDECIDED = "NoDecisionInTime"  # a failure: the calls were waiting for whoever approves them


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollout was doing when a clock cut in."""

    clock: ClockKind
    phase: str  # "model", "tools", or a hook's name
    seconds: float  # that it had been at it
    waits: frozenset[WaitKind] = frozenset()  # what it was waiting for
    stalled: bool = False  # the server stood still for a part of the model call
    running: int = 0  # tool calls that ran, and did not wait
    turns: int = 0  # kept before


def judged(moment: Moment) -> Judgement:
    """Whether a rollout that was cut says something about the policy.

    A tool that runs is the policy's doing. So is a model call that used up the working clock, unless nothing
    has been sampled yet or the server stood still. The wall clock says nothing about a model call: how many
    tokens a reply had that is not streamed, nobody knows.
    """
    if moment.phase == "tools":
        if moment.running or not moment.waits or moment.clock is ClockKind.WORKING:
            return Judgement.SCORED
        return Judgement.POOL_STARVED if WaitKind.POOL in moment.waits else Judgement.UNDECIDED
    if moment.phase != "model":
        return Judgement.HOOK_LATE
    waited = bool(moment.waits) or moment.stalled
    if moment.clock is ClockKind.WORKING and moment.turns and not waited:
        return Judgement.SCORED
    return Judgement.NO_REPLY


def told(moment: Moment, limits: Limits) -> str:
    """Why a cut rollout is a failure, and how to mend it, in a line."""
    limit = limits.timeout if moment.clock is ClockKind.WALL else limits.working_timeout
    what = f"limits.{moment.clock} ({limit:g} s) ended the rollout"
    seconds = f"{moment.seconds:.1f} s"
    if moment.phase == "tools":
        for_what = "a free place in the tool pool" if WaitKind.POOL in moment.waits else "an approval"
        mend = "raise pool_size or limits.timeout, or set limits.working_timeout, which does not count waits"
        return f"{what} after its tool calls had waited {seconds} for {for_what}; {mend}"
    if moment.phase != "model":
        place = _PLACES.get(moment.phase, f"the environment's {moment.phase}")
        return f"{what} {seconds} into {place}"
    waits = ", ".join(sorted(_WORDS.get(kind, str(kind)) for kind in moment.waits))
    for_what = f" while it waited for {waits}" if waits else " while the server stood still" * moment.stalled
    mend = "raise limits.timeout, or set limits.working_timeout, which does not count waits"
    return f"{what} {seconds} into a model call{for_what}, before a reply; {mend}"


_PLACES = {"": "the environment's code", "keep_results": "writing long results into the sandbox"}

_WORDS = {
    WaitKind.RETRY: "a retry",
    WaitKind.AWAY: "a server that cannot be reached",
    WaitKind.OVERLOAD: "an overloaded server",
    WaitKind.STALL: "a server that stands still",
    WaitKind.WEIGHT_UPDATE: "a weight update",
    WaitKind.CONNECTION: "a free connection",
}


def noted_waits(clock: RolloutClock, before: Mapping[str, float]) -> dict[str, float]:
    """The seconds of a record's waits, those ``before`` included. Less than `LEAST_NOTED` says nothing."""
    noted = {kind: seconds for kind, seconds in clock.seconds().items() if seconds >= LEAST_NOTED}
    both = sorted({*noted, *before})
    return {kind: round(noted.get(kind, 0.0) + before.get(kind, 0.0), 3) for kind in both}


class TimeLeft(NamedTuple):
    """Seconds that a rollout has left of each clock; ``None``: it is not limited."""

    wall: float | None
    working: float | None


class Deadlines:
    """Cancels the task that entered it when one of the limits' clocks runs out, and raises `TimeoutError`.

    Attributes:
        wall: `time.monotonic()` moment of the wall clock; None: it is not limited.
        cut: which clock cut in, and what ``look`` saw then; None: none did.
    """

    def __init__(self, left: TimeLeft, clock: RolloutClock, look: Callable[[ClockKind], Moment]) -> None:
        self.wall = None if left.wall is None else time.monotonic() + left.wall
        self.cut: Moment | None = None
        self._working = left.working
        self._clock = clock
        self._worked_before = clock.working()
        self._look = look
        self._timers: dict[ClockKind, asyncio.TimerHandle] = {}
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        loop = asyncio.get_running_loop()
        if self.wall is not None:
            seconds = self.wall - time.monotonic()
            self._timers[ClockKind.WALL] = loop.call_later(seconds, self._cut, ClockKind.WALL)
        if self._working is not None:
            self._watch_working()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._clock.on_change = None
        del (
            self._look
        )  # it is a method of whoever holds these deadlines: that circle would keep a record alive
        await self._timeout.__aexit__(kind, error, trace)

    def cut_short(self, moment: Moment) -> None:
        """Somebody else, such as a client with the same deadline, noticed first."""
        self.cut = self.cut or moment

    def _watch_working(self) -> None:
        """The working clock stands still while the rollout waits, so what is left is looked at again: when it
        may be used up, and where that is not known, when something that is waited for comes."""
        assert self._working is not None
        limit = self._working + self._worked_before
        left, least = self._clock.left(limit), limit - self._clock.working()
        if left is not None and left <= 0:
            self._cut(ClockKind.WORKING)
            return
        seconds = max(LOOK_AGAIN if left is None else left, least, LEAST_TIMER)
        sure = seconds <= least + LEAST_TIMER  # whatever comes, it is not used up before
        self._clock.on_change = None if sure else self._look_again
        self._timers[ClockKind.WORKING] = asyncio.get_running_loop().call_later(seconds, self._watch_working)

    def _look_again(self) -> None:
        self._timers[ClockKind.WORKING].cancel()
        self._watch_working()

    def _cut(self, clock: ClockKind) -> None:
        if self.cut is None:
            self.cut = self._look(clock)
            self._timeout.reschedule(asyncio.get_running_loop().time())
