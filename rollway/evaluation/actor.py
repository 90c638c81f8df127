"""What runs inside a worker's process: jobs come in batches, and outcomes leave in batches.

The invariant: an outcome that the driver has not fetched waits here, and nothing here waits for the driver.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import threading
import traceback
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from rollway.errors import UserError
from rollway.evaluation.captured import Shipment, captured
from rollway.evaluation.collector import collecting_rarely
from rollway.evaluation.loop_beat import LoopBeat
from rollway.evaluation.outbox import Ended, Outbox
from rollway.evaluation.reports import WorkerPlace, WorkerReport, this_place
from rollway.evaluation.worker import RolloutWorker, WorkerSpec
from rollway.event_loop import new_event_loop

Result = TypeVar("Result")

MOST_NOTES = 100
"""Log lines that a worker keeps for the driver until the next fetch; later ones are dropped."""

SentJob = tuple[
    int, bytes
]  # its number, the pickled `Job`: one that does not unpickle here is a fault of its own
Note = tuple[int, str, str]  # level, logger, message

_log = logging.getLogger(__name__)


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
        self._printed = Shipment()

    async def open(self, spec: WorkerSpec, node_id: str = "") -> tuple[WorkerPlace, str | None]:
        """Which worker it is, and what the user has to mend, if anything."""
        place = this_place(f"process {os.getpid()} on {os.uname().nodename}", node_id)
        self._held.enter_context(captured(self._printed.keep, shown=False))
        try:
            self._worker = RolloutWorker(spec, place)
            await self._worker.open()
        except UserError as error:
            return place, str(error)
        self._outbox = Outbox()
        self._held.enter_context(collecting_rarely())
        return place, None

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
        return await self._outbox.fetch(), [*self._notes.take(), *self._printed.take()]

    def report(self, beat: LoopBeat) -> WorkerReport | None:
        """How the worker is, from any thread; ``None``: it is not open yet."""
        return None if self._worker is None else self._worker.report(beat)

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
        threading.Thread(target=_keep_running, args=(self._loop,), name="rollway-worker", daemon=True).start()
        self._exchange = Exchange()
        self._beat = LoopBeat(self._loop)

    def open(self, spec: WorkerSpec) -> tuple[WorkerPlace, str | None]:
        """As `Exchange.open`."""
        return self._done(self._exchange.open(spec, _node_id()))

    def report(self) -> WorkerReport | None:
        """As `Exchange.report`, while the loop stands still, too."""
        return self._exchange.report(self._beat)

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


def _keep_running(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until the process ends. Code that exits must not stop it: the process would live on, and
    the driver wait for it."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            _log.warning("code on the worker's event loop raised %r; the worker continues", error)


def _node_id() -> str:
    """Ray's name for this machine; ``""`` where there is no Ray."""
    import ray

    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
