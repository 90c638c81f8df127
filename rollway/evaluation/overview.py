"""A run at one moment: its workers, the servers they ask, and the rollouts that have taken longest.

The invariant: it is a view, made of plain values of what each worker said last; nothing is decided by it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from heapq import nsmallest

import msgspec

from rollway.clock import RolloutClock
from rollway.inference.server_report import ServerReport

OLDEST_TOLD = 5
"""Rollouts that are named."""

_WORST_FIRST = ("away", "stalled", "overloaded", "up")


class RolloutStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout in flight."""

    task_id: str
    sample_index: int
    age: float  # seconds since it began
    phase: str = ""  # such as "model", "tools" or "setup"; "" when nobody said
    phase_seconds: float = 0.0  # since that began
    waits: list[str] = []  # what it waits for, by `rollway.clock.WaitKind`

    def told(self) -> str:
        """In words: ``task '17' sample 0, 300 s in tools``."""
        doing = f"{self.phase_seconds:.0f} s in {self.phase}" if self.phase else f"{self.age:.0f} s old"
        waits = f", waiting for {' and '.join(self.waits)}" if self.waits else ""
        return f"task {self.task_id!r} sample {self.sample_index}, {doing}{waits}"


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that runs."""

    name: str
    node: str = ""
    heard: float | None = None  # Unix seconds of its last word; None: it has not said any
    in_flight: int = 0  # rollouts
    lag: float = 0.0  # seconds for which its event loop has not answered
    blocker: RolloutStatus | None = None  # the rollout whose code keeps the loop from answering, where known


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of the rollouts in flight."""

    in_flight: int = 0
    workers: list[WorkerStatus] = []
    servers: list[ServerReport] = []  # one for each address, whichever workers ask it
    oldest: list[RolloutStatus] = []  # the one that began first at the front

    def troubles(self, now: float) -> list[str]:
        """A line for each server that is not up. ``now`` in Unix seconds."""
        return [line for server in self.servers if (line := server.line(now))]


class Said(msgspec.Struct, frozen=True):
    """What one worker says of itself."""

    status: WorkerStatus
    oldest: list[RolloutStatus] = []
    servers: list[ServerReport] = []


def overview_of(in_flight: int, said: Iterable[Said]) -> Overview:
    """What all workers say together. ``in_flight``: rollouts, as the driver counts them."""
    workers = list(said)
    return Overview(
        in_flight=in_flight,
        workers=[worker.status for worker in workers],
        servers=merged_servers(server for worker in workers for server in worker.servers),
        oldest=oldest_of(rollout for worker in workers for rollout in worker.oldest),
    )


def oldest_of_clocks(clocks: Iterable[RolloutClock]) -> list[RolloutStatus]:
    """The few rollouts that began first, by their clocks, whose names are ``task/sample``."""
    now = time.monotonic()
    return [_by_clock(clock, now) for clock in nsmallest(OLDEST_TOLD, clocks, key=lambda clock: clock.began)]


def _by_clock(clock: RolloutClock, now: float) -> RolloutStatus:
    task_id, _, sample = clock.name.rpartition("/")
    return RolloutStatus(
        task_id=task_id,
        sample_index=int(sample),
        age=round(now - clock.began, 1),
        phase=clock.phase,
        phase_seconds=round(now - clock.phase_since, 1),
        waits=sorted(clock.waits_now),
    )


def merged_servers(reports: Iterable[ServerReport]) -> list[ServerReport]:
    """One report for each address, from those of several clients: the worst state, since it began, and the
    calls of all."""
    merged: dict[str, ServerReport] = {}
    for report in reports:
        known = merged.get(report.address)
        merged[report.address] = report if known is None else _merged(known, report)
    return list(merged.values())


def _merged(one: ServerReport, other: ServerReport) -> ServerReport:
    worst = min(one, other, key=lambda report: _WORST_FIRST.index(report.state))
    since = [
        report.since for report in (one, other) if report.state == worst.state and report.since is not None
    ]
    limits = [report.limit for report in (one, other)]
    return ServerReport(
        address=one.address,
        state=worst.state,
        since=min(since, default=None),
        reason=worst.reason,
        waiting=one.waiting + other.waiting,
        in_flight=one.in_flight + other.in_flight,
        limit=None if None in limits else sum(limit or 0 for limit in limits),
    )


def oldest_of(rollouts: Iterable[RolloutStatus]) -> list[RolloutStatus]:
    """The few that have taken longest."""
    return sorted(rollouts, key=lambda rollout: -rollout.age)[:OLDEST_TOLD]
