"""Where rollouts are done, as the driver sees it: workers that can be started, fed, and that can die."""

from __future__ import annotations

from typing import Protocol

from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.reports import WorkerReport
from rollway.evaluation.tasks import Job
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

    def __init__(self, worker: RolloutWorker) -> None:
        self._worker = worker
        self.node = worker.place.node

    async def run(self, job: Job) -> Outcome:
        return await self._worker.run(job)

    async def stop(self) -> None:
        await self._worker.stop()

    async def close(self) -> None:
        await self._worker.close()

    async def kill(self) -> None:
        await self.close()

    async def heartbeat(self) -> None:
        return None  # whoever asks would stand still with it

    def report(self) -> WorkerReport:
        return self._worker.report()


class LocalBackend:
    """One worker in this process, without Ray."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec

    async def start_worker(self, number: int) -> LocalWorker:
        worker = RolloutWorker(self._spec)
        await worker.open()
        return LocalWorker(worker)
