"""What a worker says about itself while it works, for logs, for a run's status and for a watchdog.

The invariant: a report is plain values, made on any thread, also while the worker's event loop stands still.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from types import FrameType

import msgspec

from rollway.clock import RolloutClock, WaitKind
from rollway.environments.calling import Hooks
from rollway.inference.server_report import ServerReport
from rollway.tools.context import RolloutContext
from rollway.trajectory import Trajectory

OLDEST_TOLD = 5
"""Rollouts of a report."""

MOST_STACKS = 30_000
"""Characters of the stacks of a process; the first thread's come first."""

TROUBLE = frozenset({WaitKind.AWAY, WaitKind.RETRY, WaitKind.OVERLOAD})
"""Waits of a rollout to which the model's server does not answer as it should."""


class WorkerPlace(msgspec.Struct, frozen=True):
    """Which worker it is."""

    name: str  # as in the run's log and in the records
    node: str  # the machine's name
    pid: int
    node_id: str = ""  # Ray's name for the machine; "" without Ray


def this_place(name: str, node_id: str = "") -> WorkerPlace:
    """This process as the worker ``name``."""
    return WorkerPlace(name, os.uname().nodename, os.getpid(), node_id)


class RolloutReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rollout in flight."""

    task_id: str
    sample_index: int
    phase: str  # what it is doing, as `RolloutClock.phase` has it; "" when nobody said
    age: float  # seconds since it began
    phase_seconds: float  # since the phase began
    waits: list[str] = []  # what it waits for, by `rollway.clock.WaitKind`

    def told(self) -> str:
        """In words, for a log: ``rollout train-3/0 (setup for 61 s)``."""
        doing = f" ({self.phase} for {self.phase_seconds:.0f} s)" if self.phase else ""
        return f"rollout {self.task_id}/{self.sample_index}{doing}"


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One worker at one moment."""

    place: WorkerPlace
    in_flight: int
    oldest: list[RolloutReport] = []  # the rollouts that began first
    servers: list[ServerReport] = []  # as its client finds them
    troubled: int = 0  # rollouts in flight whose server does not answer as it should
    lag: float = 0.0  # seconds for which its event loop has not answered
    blocker: RolloutReport | None = None  # the rollout whose code keeps the loop from answering, where known
    stacks: str = ""  # of its threads, the loop's first; "" while the loop answers


class InFlight(msgspec.Struct, frozen=True):
    """One rollout of a worker, as reports look at it."""

    task_id: str
    sample_index: int
    record_id: str  # `Trajectory.id`
    clock: RolloutClock

    def report(self, now: float) -> RolloutReport:
        """What it is doing at ``now``, on the monotonic clock."""
        clock = self.clock
        return RolloutReport(
            self.task_id,
            self.sample_index,
            clock.phase,
            now - clock.began,
            now - clock.phase_since,
            sorted(str(kind) for kind in clock.waits_now),
        )


def oldest_first(rollouts: list[InFlight], now: float) -> list[RolloutReport]:
    """The few that began first."""
    first = sorted(rollouts, key=lambda each: each.clock.began)[:OLDEST_TOLD]
    return [each.report(now) for each in first]


def rollout_on_stack(thread: int) -> str | None:
    """The rollout whose code a thread is running, by its record's id or its clock's name; ``None``: its
    frames name none.

    Every piece of code between the event loop and a user's function holds the rollout's record, its clock or
    its context, so the innermost frame that does names it.
    """
    frame: FrameType | None = sys._current_frames().get(thread)
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if isinstance(value, Trajectory):
                return value.id
            if isinstance(value, RolloutContext):
                return value.rollout_id
            if isinstance(value, RolloutClock):
                return value.name
            if isinstance(value, Hooks):
                return value.clock.name
        frame = frame.f_back
    return None


def stacks_of(first: int | None) -> str:
    """The stacks of all threads of this process, that of the thread ``first`` before the others."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sorted(sys._current_frames().items(), key=lambda item: item[0] != first)
    told = (
        f"thread {names.get(ident, ident)}:\n" + "".join(traceback.format_stack(frame))
        for ident, frame in frames
        if ident != threading.get_ident()
    )
    return "\n".join(told)[:MOST_STACKS]
