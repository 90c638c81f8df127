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
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

from rollway.errors import UserError
from rollway.evaluation.actor import RolloutActor, SentJob
from rollway.evaluation.backends import WorkerDied
from rollway.evaluation.captured import ray_off_screen, tell
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.driver import DriverStopped
from rollway.evaluation.outbox import Ended
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.overview import RolloutStatus, Said, WorkerStatus
from rollway.evaluation.ray_presence import REFUSED, Part, PresenceTimes, look, parts_needed, until_gone
from rollway.evaluation.reports import RolloutReport, WorkerPlace, WorkerReport
from rollway.evaluation.tasks import Job
from rollway.evaluation.worker import WorkerSpec
from rollway.interrupts import ending_with, kept_handlers

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

DEFAULT_PRESENCE = PresenceTimes()
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
        self._heard: float | None = None  # Unix seconds
        self._pickle: Callable[[Any], bytes] = cloudpickle.dumps
        self._actor = actor
        self._numbers = itertools.count()
        self._unsent: deque[SentJob] = deque()
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._death: str | None = None
        self._ray_is_gone = False
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

    def ray_is_gone(self, why: str) -> None:
        """Nothing that Ray is asked from now on is answered."""
        self._ray_is_gone = True
        self._lose(why)

    async def close(self) -> None:
        import ray

        if self._ray_is_gone:
            self._receiving.cancel()
            return
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
        self._heard = time.time()
        return self._report

    def report(self) -> WorkerReport | None:
        return self._report

    def said(self) -> Said:
        """What there is to know of it, as it said last."""
        report = self._report
        if report is None:
            return Said(WorkerStatus(name=self.name, node=self.node))
        status = WorkerStatus(
            name=self.name,
            node=self.node,
            heard=self._heard,
            in_flight=report.in_flight,
            lag=round(report.lag, 1),
            blocker=None if report.blocker is None else _status_of(report.blocker),
        )
        return Said(status, [_status_of(rollout) for rollout in report.oldest], report.servers)

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
                        tell(level, logger, f"({self.name}) {message}")
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


def _status_of(rollout: RolloutReport) -> RolloutStatus:
    return RolloutStatus(
        task_id=rollout.task_id,
        sample_index=rollout.sample_index,
        age=round(rollout.age, 1),
        phase=rollout.phase,
        phase_seconds=round(rollout.phase_seconds, 1),
        waits=rollout.waits,
    )


class RayBackend:
    """Starts actors on the Ray that `connected` has connected to."""

    def __init__(self, spec: WorkerSpec, config: EvalConfig, times: PresenceTimes = DEFAULT_PRESENCE) -> None:
        import ray

        self._spec, self._times = spec, times
        self._workers: WeakSet[RayWorker] = WeakSet()
        self._parts: Sequence[Part] = ()  # of Ray, that the run needs
        self._gone: asyncio.Task[None] | None = None
        remote = ray.remote(concurrency_groups={REPORTS: 1})
        self._actors = remote(RolloutActor).options(
            num_cpus=config.ray.cpus_per_worker,
            max_concurrency=CALLS_AT_A_TIME,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )

    async def start_worker(self, number: int) -> RayWorker:
        """As `Backend.start_worker`; raises `DriverStopped` when Ray is gone."""
        if self._gone is None:
            self._parts = parts_needed(self._times)
            self._gone = asyncio.create_task(self._watch(self._parts))
        opening = asyncio.create_task(self._opened(number))
        try:
            await asyncio.wait({opening, self._gone}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done() and isinstance(opening.exception(), WorkerDied) and await self._lacks_part():
                await asyncio.wait({self._gone}, timeout=2 * self._times.head)  # it died with its Ray
            if self._gone.done():
                self._gone.result()
            return await opening
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)

    def free_cpus(self) -> float:
        """Of the cluster, at this moment. It may take long."""
        import ray

        return float(ray.available_resources().get("CPU", 0.0))

    def close(self) -> None:
        """Look for Ray no more."""
        if self._gone is not None:
            self._gone.cancel()

    async def _opened(self, number: int) -> RayWorker:
        import ray

        actor = self._actors.remote()
        try:
            with _deaths():
                place, fault = await actor.open.remote(self._spec)
        except asyncio.CancelledError:
            if self._gone is None or not self._gone.done():
                ray.kill(actor)
            raise
        if fault is not None:
            ray.kill(actor)
            raise UserError(f"{fault} (on worker {number}, {place.name})")
        worker = RayWorker(actor, place)
        self._workers.add(worker)
        return worker

    async def _lacks_part(self) -> bool:
        """Is there a part of Ray at which nobody listens at this moment?"""
        found = await asyncio.gather(*(look(part, self._times) for part in self._parts))
        return REFUSED in found

    async def _watch(self, parts: Sequence[Part]) -> None:
        """Look for Ray, and raise when it is gone."""
        why = await until_gone(parts, self._times)
        _log.error("%s", why)
        for worker in self._workers:
            worker.ray_is_gone(why)
        raise DriverStopped(why)


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
    with ray_off_screen() as screen, ending_with(ray.shutdown):
        try:
            with kept_handlers():  # Ray sets its own for SIGTERM
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
            screen.mute()  # what Ray said it says once more when it ends


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
