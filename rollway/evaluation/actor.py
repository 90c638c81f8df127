"""What runs inside a worker's process: jobs come in batches, and outcomes leave in batches.

The invariant: an outcome that the driver has not fetched waits here, and nothing here waits for the driver.
The driver asks once and is answered as soon as there is something to tell it: at once after a quiet time, and
at most once every `FETCH_SECONDS` while rollouts end all the time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import threading
import traceback
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import msgspec

from rollway.errors import UserError
from rollway.evaluation.collector import collecting_rarely
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.worker import RolloutWorker, WorkerSpec
from rollway.event_loop import new_event_loop

Result = TypeVar("Result")

FETCH_SECONDS = 0.1
"""Between two fetches, while rollouts are in flight that may end meanwhile: an outcome waits no longer."""

FETCH_BYTES = 4 * 2**20
"""Lines of a fetch; one that is longer travels alone."""

MOST_NOTES = 100
"""Log lines that a worker keeps for the driver until the next fetch; later ones are dropped."""

SentJob = tuple[
    int, bytes
]  # its number, the pickled `Job`: one that does not unpickle here is a fault of its own
Note = tuple[int, str, str]  # level, logger, message


class Ended(msgspec.Struct, frozen=True):
    """What came of one job."""

    number: int  # as in `SentJob`
    outcome: Outcome | None
    fault: str = ""  # the traceback, where there is no outcome: the code around the rollout raised

    @property
    def size(self) -> int:
        """Bytes, all but the few beside the lines."""
        if self.outcome is None:
            return len(self.fault)
        recorded = self.outcome.recorded
        beside = len(recorded.line) + len(recorded.sandbox or b"") if recorded is not None else 0
        return len(self.outcome.line) + beside


class Outbox:
    """What has ended and was not fetched, the oldest first."""

    def __init__(self) -> None:
        self._ended: deque[Ended] = deque()
        self._size = 0
        self._in_flight = 0
        self._some = asyncio.Event()
        self._no_more_soon = asyncio.Event()  # a batch is full, or nothing is in flight
        self._quiet_until = 0.0  # on the loop's clock

    def begin(self) -> None:
        """One more will end."""
        self._in_flight += 1

    def put(self, ended: Ended) -> None:
        """One has ended."""
        self._in_flight -= 1
        self._ended.append(ended)
        self._size += ended.size
        self._mark()

    async def fetch(self) -> list[Ended]:
        """At least one, as soon as it is due."""
        loop = asyncio.get_running_loop()
        await self._some.wait()
        delay = self._quiet_until - loop.time()
        if delay > 0:
            try:
                async with asyncio.timeout(delay):
                    await self._no_more_soon.wait()
            except TimeoutError:
                pass
        self._quiet_until = loop.time() + FETCH_SECONDS
        return self._batch()

    def _batch(self) -> list[Ended]:
        batch = [self._ended.popleft()]
        size = batch[0].size
        while self._ended and size + self._ended[0].size <= FETCH_BYTES:
            size += self._ended[0].size
            batch.append(self._ended.popleft())
        self._size -= size
        self._mark()
        return batch

    def _mark(self) -> None:
        _set(self._some, bool(self._ended))
        _set(self._no_more_soon, self._size >= FETCH_BYTES or self._in_flight == 0)


def _set(event: asyncio.Event, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()


class Notes(logging.Handler):
    """Keeps warnings of the worker's process, to be told to the driver."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[Note] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._kept) < MOST_NOTES:
            self._kept.append((record.levelno, record.name, self.format(record)))

    def take(self) -> list[Note]:
        """What was kept since the last time."""
        kept, self._kept = self._kept, []
        return kept


class Exchange:
    """What the driver asks of a worker, on the worker's event loop."""

    def __init__(self) -> None:
        self._notes = Notes()
        logging.getLogger("rollway").addHandler(self._notes)
        self._worker: RolloutWorker | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = ExitStack()

    async def open(self, spec: WorkerSpec) -> tuple[str, str | None]:
        """A name for the log, and what the user has to mend, if anything."""
        name = f"process {os.getpid()} on {os.uname().nodename}"
        try:
            self._worker = RolloutWorker(spec)
            await self._worker.open()
        except UserError as error:
            return name, str(error)
        self._outbox = Outbox()
        self._held.enter_context(collecting_rarely())
        return name, None

    async def hand(self, jobs: Sequence[SentJob]) -> None:
        """Begin these jobs."""
        for number, job in jobs:
            self._outbox.begin()
            task = asyncio.create_task(self._do(number, job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def fetch(self, jobs: Sequence[SentJob]) -> tuple[list[Ended], list[Note]]:
        """Begin ``jobs``; what has ended, at least one, and what was logged since the last time."""
        await self.hand(jobs)
        return await self._outbox.fetch(), self._notes.take()

    async def stop(self) -> None:
        """Cancel what is in flight."""
        if self._worker is not None:
            await self._worker.stop()

    async def close(self) -> None:
        """Let go of all that outlives a process that is killed."""
        if self._worker is not None:
            await self._worker.close()
        self._held.close()

    async def _do(self, number: int, job: bytes) -> None:
        assert self._worker is not None, "open the worker first"
        try:
            ended = Ended(number, await self._worker.run(pickle.loads(job)))
        except BaseException:  # whatever it was, the driver must hear of it
            ended = Ended(number, None, traceback.format_exc())
        self._outbox.put(ended)


class RolloutActor:
    """The process, as Ray sees it: calls wait in threads of Ray's, and the work is done on a loop of ours, on
    which nothing of Ray's runs. `fetch` is called again as soon as it has returned."""

    def __init__(self) -> None:
        self._loop = new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="rollway-worker", daemon=True).start()
        self._exchange = Exchange()

    def open(self, spec: WorkerSpec) -> tuple[str, str | None]:
        """As `Exchange.open`."""
        return self._done(self._exchange.open(spec))

    def hand(self, jobs: Sequence[SentJob]) -> None:
        """As `Exchange.hand`."""
        self._done(self._exchange.hand(jobs))

    def fetch(self, jobs: Sequence[SentJob]) -> tuple[list[Ended], list[Note]]:
        """As `Exchange.fetch`."""
        return self._done(self._exchange.fetch(jobs))

    def stop(self) -> None:
        """As `Exchange.stop`."""
        self._done(self._exchange.stop())

    def close(self) -> None:
        """As `Exchange.close`."""
        self._done(self._exchange.close())

    def _done(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
