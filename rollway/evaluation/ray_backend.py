"""Workers as Ray actors: each a process of its own, on this machine or on a cluster's.

A call on an actor whose process is gone raises `WorkerDied`; it never hangs and is never run twice by Ray
(no restarts, no retries): doing it again is the driver's business.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rollway.errors import UserError
from rollway.evaluation.actor import RolloutActor, SentJob
from rollway.evaluation.backends import WorkerDied
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.outbox import Ended
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.reports import WorkerPlace, WorkerReport
from rollway.evaluation.tasks import Job
from rollway.evaluation.worker import WorkerSpec

OBJECT_STORE_BYTES = 256 * 2**20
"""Of Ray's object store, if Rollway starts Ray. Trajectories pass through it in small batches."""

KNOCK_SECONDS = 10.0
"""How long the head of a cluster may take to answer."""

CALLS_AT_A_TIME = 4
"""That one actor works on, each in a thread of Ray's: `fetch`, and what is asked beside it. More threads
would only spread the process's memory."""

SEND_BYTES = 4 * 2**20
"""Jobs of one call, which are long where they carry a record to replay; one that is longer travels alone."""

KILL_SECONDS = 20.0
"""How long it may take to have a worker's process killed on its machine."""

CLOSE_SECONDS = 10.0
"""How long a worker may take to let go of its sandboxes and servers before it is killed."""

REPORTS = "reports"
"""The group of a worker's calls that its other calls never keep waiting."""

_log = logging.getLogger(__name__)


class JobFault(Exception):
    """The code around one rollout raised, in the worker. The message is its traceback."""


class RayWorker:
    """One actor, as the driver sees it: one call carries many jobs, and one brings many outcomes."""

    def __init__(self, actor: Any, place: WorkerPlace) -> None:
        from ray import cloudpickle

        self.place = place
        self.name, self.node = place.name, place.node
        self._report: WorkerReport | None = None
        self._pickle: Callable[[Any], bytes] = cloudpickle.dumps
        self._actor = actor
        self._numbers = itertools.count()
        self._unsent: deque[SentJob] = deque()
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._death: str | None = None
        self._receiving = asyncio.create_task(self._receive())

    async def run(self, job: Job) -> Outcome:
        if self._death is not None:
            raise WorkerDied(self._death)
        number, loop = next(self._numbers), asyncio.get_running_loop()
        if not self._unsent:
            loop.call_soon(self._send)  # all that is handed in before the loop's next turn
        self._unsent.append((number, self._pickle(job)))
        self._waiting[number] = loop.create_future()
        try:
            return await self._waiting[number]
        finally:
            del self._waiting[number]

    async def stop(self) -> None:
        with _deaths():
            await self._actor.stop.remote()

    async def close(self) -> None:
        import ray

        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._actor.close.remote()
        except (TimeoutError, ray.exceptions.RayError) as error:
            _log.info("worker %s did not close in time: %s", self.name, " ".join(str(error).split()))
        finally:
            self._receiving.cancel()
            self._lose("it was closed")
            ray.kill(self._actor)

    async def kill(self) -> None:
        import ray

        self._receiving.cancel()
        self._lose("it was killed")
        ray.kill(self._actor)
        await end_process(self.place)

    async def heartbeat(self) -> WorkerReport | None:
        if self._death is not None:
            raise WorkerDied(self._death)
        with _deaths():
            self._report = await self._actor.report.options(concurrency_group=REPORTS).remote()
        return self._report

    def report(self) -> WorkerReport | None:
        return self._report

    def _send(self) -> None:
        """Hand over what does not go along with a fetch."""
        try:
            while jobs := self._take_unsent():
                self._actor.hand.remote(jobs)
        except Exception as error:
            self._lose(str(error))

    async def _receive(self) -> None:
        """Fetch outcomes until the worker dies. Whatever else stops this counts as its death as well."""
        try:
            with _deaths():
                while True:
                    await asyncio.sleep(0)  # whoever got an outcome hands in the next job
                    ended, notes = await self._actor.fetch.remote(self._take_unsent())
                    self._take_in(ended)
                    for level, logger, message in notes:
                        logging.getLogger(logger).log(level, "(%s) %s", self.name, message)
        except Exception as error:
            self._lose(str(error))

    def _take_unsent(self) -> list[SentJob]:
        """As many as go into one call; the rest stays for `_send`."""
        jobs: list[SentJob] = []
        size = 0
        while self._unsent and (not jobs or size + len(self._unsent[0][1]) <= SEND_BYTES):
            jobs.append(self._unsent.popleft())
            size += len(jobs[-1][1])
        return jobs

    def _take_in(self, batch: Sequence[Ended]) -> None:
        for ended in batch:
            waiting = self._waiting.get(ended.number)
            if waiting is None or waiting.done():
                continue  # whoever handed it in is gone
            if ended.outcome is not None:
                waiting.set_result(ended.outcome)
            else:
                waiting.set_exception(JobFault(ended.fault))

    def _lose(self, why: str) -> None:
        self._death = self._death or why
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(WorkerDied(self._death))


class RayBackend:
    """Starts actors on the Ray that `connected` has connected to."""

    def __init__(self, spec: WorkerSpec, config: EvalConfig) -> None:
        import ray

        self._spec = spec
        remote = ray.remote(concurrency_groups={REPORTS: 1})
        self._actors = remote(RolloutActor).options(
            num_cpus=config.ray.cpus_per_worker,
            max_concurrency=CALLS_AT_A_TIME,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )

    async def start_worker(self, number: int) -> RayWorker:
        import ray

        actor = self._actors.remote()
        try:
            with _deaths():
                place, fault = await actor.open.remote(self._spec)
        except asyncio.CancelledError:
            ray.kill(actor)
            raise
        if fault is not None:
            ray.kill(actor)
            raise UserError(f"{fault} (on worker {number}, {place.name})")
        return RayWorker(actor, place)


@contextmanager
def connected(config: EvalConfig) -> Iterator[None]:
    """A connection to the cluster that ``config`` names, or to a Ray that it starts and stops.

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
            f"ray.address: no answer at {address!r} ({error.strerror or error}); "
            f"start a cluster with 'ray start --head', or remove ray.address"
        ) from None


async def end_process(place: WorkerPlace) -> None:
    """End a worker's process that stands still, and therefore does not do what Ray asks of it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(node_id=place.node_id, soft=False)
    end = ray.remote(_end_process).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
    try:
        async with asyncio.timeout(KILL_SECONDS):
            await end.remote(place.pid)
    except (TimeoutError, ray.exceptions.RayError) as error:
        _log.error("worker %s may still be there: %s", place.name, " ".join(str(error).split()))


def _end_process(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


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
