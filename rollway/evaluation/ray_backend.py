"""Workers as Ray actors: each a process of its own, on this machine or on a cluster's.

A call on an actor whose process is gone raises `WorkerDied`; it never hangs and is never run twice by Ray
(no restarts, no retries): doing it again is the driver's business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rollway.errors import UserError
from rollway.evaluation.backends import WorkerDied
from rollway.evaluation.collector import collect_rarely
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.tasks import Job
from rollway.evaluation.worker import Outcome, RolloutWorker, WorkerSpec

OBJECT_STORE_BYTES = 256 * 2**20
"""For a Ray of our own. Trajectories pass through it one by one and are not kept there."""

KNOCK_SECONDS = 10.0
"""How long the head of a cluster may take to answer."""

CLOSE_SECONDS = 10.0
"""How long a worker may take to let go of its sandboxes and servers before it is killed."""

MOST_NOTES = 100
"""Log lines that a worker keeps for the driver until its next outcome; later ones are dropped."""

_log = logging.getLogger(__name__)

Note = tuple[int, str, str]  # level, logger, message


class _Notes(logging.Handler):
    """Keeps warnings of the worker's process, to be told to the driver."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[Note] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._kept) < MOST_NOTES:
            self._kept.append((record.levelno, record.name, self.format(record)))

    def take(self) -> list[Note]:
        kept, self._kept = self._kept, []
        return kept


class RolloutActor:
    """What runs inside the actor's process."""

    def __init__(self) -> None:
        self._notes = _Notes()
        logging.getLogger("rollway").addHandler(self._notes)
        self._worker: RolloutWorker | None = None

    async def open(self, spec: WorkerSpec) -> tuple[str, str | None]:
        """A name for the log, and what the user has to mend, if anything."""
        import os

        name = f"process {os.getpid()} on {os.uname().nodename}"
        try:
            self._worker = RolloutWorker(spec)
            await self._worker.open()
        except UserError as error:
            return name, str(error)
        collect_rarely()
        return name, None

    async def run(self, job: Job) -> tuple[Outcome, list[Note]]:
        """Do one job; with the outcome comes what was logged since the last one."""
        assert self._worker is not None, "open the worker first"
        return await self._worker.run(job), self._notes.take()

    async def stop(self) -> None:
        """Cancel what is in flight."""
        if self._worker is not None:
            await self._worker.stop()

    async def close(self) -> None:
        """Let go of all that outlives a process that is killed."""
        if self._worker is not None:
            await self._worker.close()


class RayWorker:
    """One actor, as the driver sees it."""

    def __init__(self, actor: Any, name: str) -> None:
        self.name = name
        self._actor = actor

    async def run(self, job: Job) -> Outcome:
        with _deaths():
            outcome, notes = await self._actor.run.remote(job)
        for level, logger, message in notes:
            logging.getLogger(logger).log(level, "(%s) %s", self.name, message)
        return outcome  # type: ignore[no-any-return]  # what RolloutActor.run returns

    async def stop(self) -> None:
        with _deaths():
            await self._actor.stop.remote()

    async def close(self) -> None:
        import ray

        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._actor.close.remote()
        except (TimeoutError, ray.exceptions.RayError) as error:
            _log.info("worker %s did not close by itself: %s", self.name, " ".join(str(error).split()))
        finally:
            ray.kill(self._actor)


class RayBackend:
    """Starts actors on the Ray that `connected` has connected to."""

    def __init__(self, spec: WorkerSpec, config: EvalConfig) -> None:
        import ray

        self._spec = spec
        self._actors = ray.remote(RolloutActor).options(
            num_cpus=config.ray.cpus_per_worker,
            # Room for `stop` and `open` beside the rollouts.
            max_concurrency=config.concurrency + 8,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )

    async def start_worker(self, number: int) -> RayWorker:
        actor = self._actors.remote()
        try:
            with _deaths():
                name, fault = await actor.open.remote(self._spec)
        except asyncio.CancelledError:
            import ray

            ray.kill(actor)
            raise
        if fault is not None:
            raise UserError(f"{fault} (on worker {number}, {name})")
        return RayWorker(actor, name)


@contextmanager
def connected(config: EvalConfig) -> Iterator[None]:
    """A connection to the cluster that ``config`` names, or to a Ray of our own that ends with it.

    A process that is connected to Ray already is left as it is.

    Raises:
        UserError: there is no cluster at the address.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = config.ray.address
    if address is not None:
        _refuse_silence(address)
    options: dict[str, Any] = {"runtime_env": config.ray.runtime_env or None}
    if address is None:
        cpus = max(1, round(config.workers * config.ray.cpus_per_worker + 0.5))
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except ConnectionError as error:
        told = " ".join(str(error).split())
        raise UserError(f"ray.address: no Ray cluster at {address!r}: {told}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Knock once: Ray itself would go on knocking for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"ray.address: nothing answers at {address!r} ({error.strerror or error}); "
            f"start a cluster with 'ray start --head', or leave ray.address out"
        ) from None


@contextmanager
def _deaths() -> Iterator[None]:
    """Ray's many words for a process that is gone become one."""
    from ray import exceptions

    try:
        yield
    except exceptions.RayTaskError:
        raise  # the code in the actor raised: a programming error
    except exceptions.RayError as error:
        raise WorkerDied(" ".join(str(error).split())) from None
