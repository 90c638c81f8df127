"""Scoring on Ray: chunks go to actors and come back in their order; this process is the only writer.

A reward function that kills its worker costs the line that it was called on its score, and no other.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rollway.errors import UserError
from rollway.interrupts import kept_handlers
from rollway.scoring.lines import Job, Scored, row_of, score_chunk
from rollway.scoring.sources import RewardSource, load_rewards
from rollway.trajectory import ErrorRecord

OBJECT_STORE_BYTES = 256 * 2**20
"""Of Ray's object store, if Rollway starts Ray. Chunks only pass through it."""

CONNECT_SECONDS = 5.0
"""How long the head of a cluster may take to take a connection."""

START_SECONDS = 300.0
"""How long the first worker may take to start: a busy machine has taken more than a minute."""


class ChunkScorer:
    """What runs in a Ray actor: reward functions, loaded once, and the event loop of all their calls."""

    def __init__(self, source: RewardSource) -> None:
        self._rewards = load_rewards(source)
        self._runner = asyncio.Runner()

    def score(self, jobs: Sequence[Job]) -> list[Scored]:
        return self._runner.run(score_chunk(self._rewards, jobs))


def score_on_ray(
    source: RewardSource, chunks: Iterable[Sequence[Job]], *, workers: int, address: str | None = None
) -> Iterator[list[Scored]]:
    """Score chunks on several Ray actors, and return them in order.

    ``address`` is that of a cluster; without one a Ray of our own runs for the time of the scoring, unless
    this process is connected to one already.

    Raises:
        UserError: no worker starts, or the reward functions cannot be loaded there.
    """
    with _ray(workers, address) as ray:
        fleet = _Fleet(ray, source, workers)
        flights: deque[tuple[int, Any, Sequence[Job], Any]] = deque()
        try:
            for number, jobs in enumerate(chunks):
                place = number % workers
                actor = fleet.actors[place]
                flights.append((place, actor, jobs, actor.score.remote(jobs)))
                if len(flights) >= 2 * workers:
                    yield fleet.land(*flights.popleft())
            while flights:
                yield fleet.land(*flights.popleft())
        finally:
            fleet.close()


class _Fleet:
    """The actors, and a new one in the place of each that dies."""

    def __init__(self, ray: Any, source: RewardSource, workers: int) -> None:
        self._ray = ray
        self._source = source
        self._class = ray.remote(num_cpus=1, max_restarts=0)(ChunkScorer)
        self._deaths = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError)
        self.actors = [self._class.remote(source) for _ in range(workers)]
        self._wait_for(self.actors[0])

    def _wait_for(self, actor: Any) -> None:
        try:
            self._ray.get(actor.score.remote([]), timeout=START_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            raise UserError(
                f"no Ray worker started within {START_SECONDS:.0f} s: check that the cluster has a free CPU"
            ) from None
        except self._ray.exceptions.RayError as error:
            raise UserError(f"a Ray worker cannot start: {str(error).strip().splitlines()[-1]}") from error

    def land(self, place: int, actor: Any, jobs: Sequence[Job], reference: Any) -> list[Scored]:
        """The rows of a chunk. If its worker died, its lines are scored one by one to find which did it."""
        try:
            scored: list[Scored] = self._ray.get(reference)
            return scored
        except self._deaths:
            if self.actors[place] is actor:
                self.actors[place] = self._class.remote(self._source)
        return self._one_by_one(jobs)

    def _one_by_one(self, jobs: Sequence[Job]) -> list[Scored]:
        rows: list[Scored] = []
        alone = self._class.remote(self._source)
        for job in jobs:
            try:
                rows += self._ray.get(alone.score.remote([job]))
            except self._deaths:
                told = "the reward functions killed their worker process"
                rows.append(Scored(row_of(job, "", error=ErrorRecord("WorkerDied", told, "reward:")), None))
                alone = self._class.remote(self._source)
        self._ray.kill(alone)
        return rows

    def close(self) -> None:
        for actor in self.actors:
            self._ray.kill(actor)


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[Any]:
    """Ray, connected. What was connected before stays so."""
    import ray

    ours = not ray.is_initialized()
    if ours:
        if address is not None:
            _knock(address)
        local: dict[str, Any] = {"num_cpus": workers + 1, "include_dashboard": False}
        local["object_store_memory"] = OBJECT_STORE_BYTES
        try:
            with kept_handlers():  # Ray sets its own for SIGTERM
                ray.init(
                    address=address or "local",
                    logging_level="ERROR",
                    log_to_driver=False,
                    **({} if address else local),
                )
        except KeyboardInterrupt:  # in the middle: what has been started must not outlive us
            ray.shutdown()
            raise
        except ConnectionError as error:
            told = " ".join(str(error).split())
            raise UserError(f"no Ray cluster at {address!r}: {told}") from None
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _knock(address: str) -> None:
    """See whether anything listens at ``host:port``; Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local": Ray knows at once
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray cluster at {address!r}: {error.strerror or error}") from None
