"""One running worker, as the driver sees it: what it has in flight, how much it may have, and how it ended.

The invariant: once a worker has ended, nothing is handed to it, and the reason is the first that was found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from typing import Any

import msgspec

from rollway.evaluation.backends import WorkerHandle
from rollway.evaluation.job_queue import Attempt
from rollway.evaluation.tasks import Key

FIRST_LANES = 4
"""Rollouts in flight on a worker that has not done any yet: so many are wasted on one that can do none."""


class EndKind(Enum):
    """Why a worker does not run any more."""

    DIED = "died"
    HUNG = "hung"  # its event loop does not answer, or its process does not
    BAD = "bad"  # rollouts fail on it while they succeed elsewhere


class SeatEnd(msgspec.Struct, frozen=True):
    """How a worker ended."""

    kind: EndKind
    why: str
    blocker: Key | None = None  # the rollout whose code hangs; None: not known


class Seat:
    """A worker that runs, in lanes that do one job after the other.

    Attributes:
        number: of the worker, over all that were started in this sitting.
        lanes: rollouts that it may have in flight.
        flying: rollouts that it has in flight, as keys.
        apart: suspects that it is about to do, with nothing beside them.
        is_apart: it does nothing but suspects.
        failed_in_a_row: rollouts that failed on it since the last that did not.
        troubled: the model's servers did not answer it as they should when it was last heard.
        draining: it gets nothing more.
        ended: how it ended; None: it runs.
        wake: set when there may be something to do for it, or it has ended.
    """

    def __init__(self, number: int, worker: WorkerHandle, concurrency: int) -> None:
        self.number = number
        self.worker = worker
        self.lanes = min(FIRST_LANES, concurrency)
        self.flying: dict[Attempt, None] = {}
        self.apart: list[Attempt] = []
        self.is_apart = False
        self.failed_in_a_row = 0
        self.troubled = False
        self.draining = False
        self.ended: SeatEnd | None = None
        self.wake = asyncio.Event()
        self.running_lanes: set[asyncio.Task[None]] = set()
        self._concurrency = concurrency

    def __str__(self) -> str:
        return self.worker.name

    @property
    def has_room(self) -> bool:
        """May another lane begin? Suspects come in groups that are small enough."""
        return bool(self.apart) or len(self.running_lanes) < self.lanes

    def end(self, end: SeatEnd) -> None:
        """It does not run any more."""
        if self.ended is None:
            self.ended = end
        self.wake.set()

    def open_all_lanes(self) -> None:
        """It has shown that it can do rollouts."""
        self.lanes = self._concurrency
        self.wake.set()

    def widen(self) -> None:
        """It has not failed yet: twice as much may be in flight."""
        self.lanes = min(2 * self.lanes, self._concurrency)
        self.wake.set()

    def begin_lane(
        self, work: Coroutine[Any, Any, None], ended: Callable[[asyncio.Task[None]], None]
    ) -> None:
        """Run a lane; ``ended`` is told of its end."""
        lane = asyncio.create_task(work)
        self.running_lanes.add(lane)
        lane.add_done_callback(self._lane_ended)
        lane.add_done_callback(ended)

    async def clear(self, beside: Iterable[asyncio.Task[None]]) -> None:
        """End the lanes and the tasks ``beside`` them. What is still in `flying` then did not come back."""
        tasks = [*self.running_lanes, *beside]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        self.running_lanes.discard(lane)
        if not self.running_lanes:
            self.is_apart = False
        self.wake.set()
