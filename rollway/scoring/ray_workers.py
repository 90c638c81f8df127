"""Scoring on Ray: chunks go to actors and come back in their order; this process is the only writer.

A reward function that kills its worker costs the line that it was called on its score, and no other.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rollway.errors import UserError
from rollway.event_loop import new_event_loop
from rollway.interrupts import ending_with, kept_handlers
from rollway.scoring.lines import Job, Scored, Scorer, in_order, row_of
from rollway.scoring.sources import RewardSource, load_rewards
from rollway.trajectory import ErrorRecord

OBJECT_STORE_BYTES = 256 * 2**20
"""Of Ray's object store, if Rollway starts Ray. Chunks only pass through it."""

CONNECT_SECONDS = 5.0
"""How long the head of a cluster may take to take a connection."""

START_SECONDS = 300.0
"""How long the first worker may take to start: a busy machine has taken more than a minute."""


SO_FAR_SECONDS = 5.0
"""How long the workers have, when scoring is interrupted, to say what they have scored."""

CALLS_AT_A_TIME = 4
"""That one actor works on, each in a thread of Ray's: two chunks, and the question how far they are."""


class ChunkScorer:
    """What runs in a Ray actor: reward functions, loaded once, and the event loop of all their calls. Calls
    wait in threads of Ray's."""

    def __init__(self, source: RewardSource, timeout: float) -> None:
        self._scorer = Scorer(load_rewards(source), timeout)
        self._under_way: dict[int, dict[int, Scored]] = {}
        self._loop = new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="rollway-score", daemon=True).start()

    def score(self, number: int, jobs: Sequence[Job]) -> list[Scored]:
        """Score a chunk."""
        done = self._under_way[number] = {}
        chunk = self._scorer.score_chunk(jobs, done)
        scored = asyncio.run_coroutine_threadsafe(chunk, self._loop).result()
        del self._under_way[number]
        return scored

    def so_far(self) -> dict[int, list[Scored]]:
        """What is scored of the chunks that are under way."""
        return {number: in_order(dict(done)) for number, done in list(self._under_way.items())}


def score_on_ray(
    source: RewardSource,
    chunks: Iterable[Sequence[Job]],
    *,
    workers: int,
    timeout: float,
    address: str | None = None,
) -> Iterator[list[Scored]]:
    """Score chunks on several Ray actors, and return them in order.

    ``address`` is that of a cluster; without one a Ray of our own runs for the time of the scoring, unless
    this process is connected to one already.

    Raises:
        UserError: no worker starts, or the reward functions cannot be loaded there.
        KeyboardInterrupt: Ctrl-C. What had been scored has been given before.
    """
    with _ray(workers, address) as ray:
        fleet = _Fleet(ray, source, workers, timeout)
        flights: deque[_Flight] = deque()
        try:
            for number, jobs in enumerate(chunks):
                flights.append(fleet.launch(number, jobs))
                if len(flights) >= 2 * workers:
                    yield fleet.land(flights[0])
                    flights.popleft()
            while flights:
                yield fleet.land(flights[0])
                flights.popleft()
        except KeyboardInterrupt:
            yield from fleet.so_far(flights)
            raise
        finally:
            fleet.close()


class _Flight(NamedTuple):
    """A chunk on its way."""

    number: int
    place: int  # of the actor
    actor: Any
    jobs: Sequence[Job]
    reference: Any


class _Fleet:
    """The actors, and a new one in the place of each that dies."""

    def __init__(self, ray: Any, source: RewardSource, workers: int, timeout: float) -> None:
        self._ray = ray
        self._source = source
        self._timeout = timeout
        self._class = ray.remote(num_cpus=1, max_restarts=0, max_concurrency=CALLS_AT_A_TIME)(ChunkScorer)
        self._deaths = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError)
        self.actors = [self._new() for _ in range(workers)]
        self._wait_for(self.actors[0])

    def _new(self) -> Any:
        return self._class.remote(self._source, self._timeout)

    def _wait_for(self, actor: Any) -> None:
        try:
            self._ray.get(actor.score.remote(-1, []), timeout=START_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            raise UserError(
                f"no Ray worker started within {START_SECONDS:.0f} s: check that the cluster has a free CPU"
            ) from None
        except self._ray.exceptions.RayError as error:
            raise UserError(f"a Ray worker cannot start: {str(error).strip().splitlines()[-1]}") from error

    def launch(self, number: int, jobs: Sequence[Job]) -> _Flight:
        place = number % len(self.actors)
        actor = self.actors[place]
        return _Flight(number, place, actor, jobs, actor.score.remote(number, jobs))

    def land(self, flight: _Flight) -> list[Scored]:
        """The rows of a chunk. If its worker died, its lines are scored one by one to find which did it."""
        try:
            scored: list[Scored] = self._ray.get(flight.reference)
            return scored
        except self._deaths:
            if self.actors[flight.place] is flight.actor:
                self.actors[flight.place] = self._new()
        return self._one_by_one(flight.jobs)

    def so_far(self, flights: Iterable[_Flight]) -> Iterator[list[Scored]]:
        """What is scored of chunks that are not waited for any more."""
        asked = {flight.actor: flight.actor.so_far.remote() for flight in flights}
        deadline = time.monotonic() + SO_FAR_SECONDS
        known: dict[Any, dict[int, list[Scored]]] = {}
        for flight in flights:
            left = max(0.0, deadline - time.monotonic())
            try:
                if flight.actor not in known:
                    known[flight.actor] = self._ray.get(asked[flight.actor], timeout=left)
                if flight.number in known[flight.actor]:
                    yield known[flight.actor][flight.number]
                else:  # it has ended, or has not begun
                    yield self._ray.get(flight.reference, timeout=0.1)
            except self._ray.exceptions.RayError:
                continue

    def _one_by_one(self, jobs: Sequence[Job]) -> list[Scored]:
        rows: list[Scored] = []
        alone = self._new()
        for job in jobs:
            try:
                rows += self._ray.get(alone.score.remote(0, [job]))
            except self._deaths:
                told = "the reward functions killed their worker process"
                rows.append(Scored(row_of(job, "", error=ErrorRecord("WorkerDied", told, "reward:")), None))
                alone = self._new()
        self._ray.kill(alone)
        return rows

    def close(self) -> None:
        for actor in self.actors:
            self._ray.kill(actor)


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[Any]:
    """Ray, connected. What was connected before stays so."""
    import ray

    if ray.is_initialized():
        yield ray
        return
    if address is not None:
        _knock(address)
    local: dict[str, Any] = {"num_cpus": workers + 1, "include_dashboard": False}
    local["object_store_memory"] = OBJECT_STORE_BYTES
    with ending_with(ray.shutdown):
        try:
            with kept_handlers():  # Ray sets its own for SIGTERM
                ray.init(
                    address=address or "local",
                    logging_level="ERROR",
                    log_to_driver=False,
                    **({} if address else local),
                )
        except ConnectionError as error:
            told = " ".join(str(error).split())
            raise UserError(f"no Ray cluster at {address!r}: {told}") from None
        yield ray


def _knock(address: str) -> None:
    """See whether anything listens at ``host:port``; Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local": Ray knows at once
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray cluster at {address!r}: {error.strerror or error}") from None
