"""Where rollouts are done, as the driver sees it: workers that can be started, fed, and that can die."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.overview import Said, WorkerStatus, oldest_of_clocks
from rollway.evaluation.reports import WorkerReport
from rollway.evaluation.tasks import Job
from rollway.evaluation.watchdog import SILENT_SECONDS, Watchdog
from rollway.evaluation.worker import LOCAL, RolloutWorker, WorkerSpec


class WorkerDied(Exception):
    """The worker's process is gone, and with it whatever it was doing."""


class WorkerHandle(Protocol):
    """One running worker."""

    name: str  # as in the run's log and in its records
    node: str  # the machine's name

    async def run(self, job: Job) -> Outcome:
        """Do one job. Raises `WorkerDied`; a worker that died never leaves the caller waiting."""
        ...

    async def stop(self) -> None:
        """Cancel the jobs in flight: their `run` returns what there is of them."""
        ...

    async def close(self) -> None:
        """End the worker. Jobs still in flight are lost."""
        ...

    async def kill(self) -> None:
        """End a worker that does not answer, whatever it is doing."""
        ...

    async def heartbeat(self) -> WorkerReport | None:
        """Ask the worker how it is, which works while its event loop stands still; ``None``: it need not be
        asked. Raises `WorkerDied`; it may never return where the worker's process stands still."""
        ...

    def report(self) -> WorkerReport | None:
        """What it said last, at once; ``None``: nothing yet."""
        ...


class Backend(Protocol):
    """Makes workers."""

    async def start_worker(self, number: int) -> WorkerHandle:
        """Raises `WorkerDied` when it dies while starting, `UserError` when the environment does not load."""
        ...


class LocalWorker:
    """A worker on the driver's own event loop."""

    name = LOCAL

    def __init__(self, worker: RolloutWorker, watchdog: Watchdog) -> None:
        self._worker = worker
        self._watchdog = watchdog
        self.node = worker.place.node

    async def run(self, job: Job) -> Outcome:
        return await self._worker.run(job)

    def said(self) -> Said:
        """What there is to know of it now."""
        clocks = self._worker.clocks()
        return Said(
            WorkerStatus(name=self.name, node=os.uname().nodename, heard=time.time(), in_flight=len(clocks)),
            oldest_of_clocks(clocks),
            self._worker.servers(),
        )

    async def stop(self) -> None:
        await self._worker.stop()

    async def close(self) -> None:
        await self._worker.close()
        self._watchdog.stop()

    async def kill(self) -> None:
        await self.close()

    async def heartbeat(self) -> None:
        return None  # whoever asks would stand still with it

    def report(self) -> WorkerReport:
        return self._worker.report()


class LocalBackend:
    """One worker in this process, without Ray.

    ``tell`` gets a line when its event loop has been held up for ``silent_seconds``.
    """

    def __init__(self, spec: WorkerSpec, *, silent_seconds: float = SILENT_SECONDS) -> None:
        self._spec = spec
        self.tell: Callable[[str], None] | None = None
        self._silent_seconds = silent_seconds

    async def start_worker(self, number: int) -> LocalWorker:
        worker = RolloutWorker(self._spec)
        await worker.open()
        watchdog = Watchdog(worker.clocks, tell=self.tell, silent_seconds=self._silent_seconds)
        return LocalWorker(worker, watchdog.start())
