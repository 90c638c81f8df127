"""Jobs on daemon threads: a queue, a size that can change at any moment, and threads that can be given up.

Under the one lock it always holds that while jobs are queued and fewer than ``size`` run, a thread is on its
way to them, or whoever submitted them is about to send one. One thread is woken or started at a time, and
fetches the next itself: a burst of jobs costs whoever submits it one wake, not one each, and never the start
of a thread. A hung job costs a thread, never a place.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import NamedTuple

from rollway.tools.jobs import Job, JobState
from rollway.tools.worker_threads import Starter, Worker

CROWD = 256  # running jobs from which on threads begin one by one, `PACE` apart
PACE = 0.0002
"""Seconds. Threads that begin together end together, and then all want the interpreter at once: it is handed
from one to the next, a thousand times, before the event loop has it again."""

WAITS_KEPT = 4096  # the latest queue times, for percentiles


class WorkerCounts(NamedTuple):
    """`Workers` at one moment."""

    size: int
    running: int
    queued: int
    given_up: int  # threads written off that still hang
    late: int  # jobs that ended after their deadline, or after they had been given up
    completed: int  # jobs that ended in time
    waits: list[float]  # seconds in the queue, of the latest jobs


class Workers:
    """The threads of one pool. All methods may be called from any thread.

    With ``patience``, a job waits so many seconds for a thread that is at work before another is woken for
    it: quick jobs then share one thread, and many do not take the interpreter from the event loop.
    Whoever submits sees to it that `refill` is called while jobs are queued.
    """

    def __init__(self, size: int, name: str, patience: float | None = None) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self._name = name
        self._size = size
        self._queue: OrderedDict[Job, None] = OrderedDict()  # in order; any job can be taken out at once
        self._idle: list[Worker] = []  # the last to fall idle is the first to work again
        self._live = 0  # workers that are not dismissed
        self._fetching = False  # a worker is on its way to the queue; it fetches the next one if need be
        self._running = 0
        self._given_up = 0
        self._starter = Starter(f"starter of {name}", self._send)
        self._sent = 0.0  # when it last sent a worker on its way
        self._serial = 0
        self._leaving: list[Worker] = []  # dismissed while idle, and not woken yet to end
        self._closed = False
        self._ended = threading.Event()  # closed, and no thread is left but hung ones
        self._completed = 0
        self._late = 0
        self._waits: deque[float] = deque(maxlen=WAITS_KEPT)

    def submit(self, job: Job, *, wake: bool = True) -> bool:
        """Queue a job. False, and nothing else happens, when closed.

        Without ``wake`` the caller sees to it that `refill` is called soon.
        """
        with self._lock:
            if self._closed:
                return False
            self._queue[job] = None
            job.announced = len(self._queue) > self._size - self._running
            worker = self._fetch() if wake else None
        self._wake(worker)
        return True

    def withdraw(self, job: Job) -> None:
        """Nobody waits for the job any more: take it out of the queue, or write its thread off.

        The thread is replaced only by `refill`: where many jobs are withdrawn at once, those still queued
        would otherwise be begun one after the other.
        """
        with self._lock:
            if job.state is JobState.QUEUED:
                job.state = JobState.ABANDONED
                del self._queue[job]
            elif job.state is JobState.RUNNING:
                self._write_off(job)

    def give_up(self, job: Job) -> bool:
        """Write the thread of a running job off and replace it. False when the job does not run."""
        with self._lock:
            if job.state is not JobState.RUNNING:
                return False
            self._write_off(job)
            worker = self._fetch()
        self._wake(worker)
        return True

    def refill(self) -> None:
        """See to the queue after `withdraw`, or jobs that were submitted without waking a thread."""
        with self._lock:
            worker = self._fetch()
        self._wake(worker)

    def resize(self, size: int) -> None:
        """Let ``size`` jobs run at a time from now on. Running jobs go on; none is dropped."""
        with self._lock:
            self._size = size
            self._dismiss()
            worker = self._fetch()
        self._see_off()
        self._wake(worker)

    def close(self, error: BaseException) -> None:
        """Take no more jobs, end idle threads, and let queued jobs fail with ``error``."""
        with self._lock:
            self._closed = True
            queued = self._take_queue()
            self._dismiss()
            self._note_end()
        self._see_off()
        _refuse(queued, error)

    def join(self, timeout: float) -> bool:
        """After `close`: wait for running jobs to end. False when ``timeout`` seconds were not enough."""
        return self._ended.wait(timeout)

    @property
    def queued(self) -> int:
        """Jobs that no thread has taken."""
        return len(self._queue)

    def counts(self) -> WorkerCounts:
        """How things stand, all at one moment."""
        with self._lock:
            return WorkerCounts(
                self._size,
                self._running,
                len(self._queue),
                self._given_up,
                self._late,
                self._completed,
                list(self._waits),
            )

    # The methods below are called with the lock held.

    def _fetch(self) -> Worker | None:
        """A worker for the queue, if it needs one; the caller wakes it. One at a time is on its way."""
        if self._fetching or not self._queue:
            return None
        if self.patience is not None and self._running:
            first = next(iter(self._queue))
            if time.monotonic() - first.submitted < self.patience:
                return None
        if self._idle:
            worker = self._idle.pop()
        elif self._live < self._size:
            worker = Worker()
            self._live += 1
        else:
            return None
        self._fetching = True
        return worker

    def _next(self, worker: Worker) -> Job | None:
        """A free worker's next job. Without one it is among the idle, or dismissed."""
        if self._closed or self._live > self._size:
            worker.dismissed = True
            self._live -= 1
            self._note_end()
            return None
        if not self._queue:
            self._idle.append(worker)
            return None
        job, _ = self._queue.popitem(last=False)
        job.state = JobState.RUNNING
        job.worker = worker
        self._running += 1
        return job

    def _finish(self, job: Job) -> bool:
        """Count a job that has ended. False when nobody waits for it."""
        if job.state is JobState.ABANDONED:
            self._late += 1
            self._given_up -= 1
            return False
        job.state = JobState.DONE
        job.worker = None
        self._running -= 1
        self._note_wait(job)
        if job.overran:
            self._late += 1
        else:
            self._completed += 1
        return True

    def _write_off(self, job: Job) -> None:
        assert job.worker is not None
        job.state = JobState.ABANDONED
        job.worker.dismissed = True
        self._running -= 1
        self._live -= 1
        self._given_up += 1
        self._note_wait(job)
        self._note_end()

    def _dismiss(self) -> None:
        """Dismiss idle workers beyond the size; `_see_off` lets their threads end."""
        while self._idle and (self._closed or self._live > self._size):
            worker = self._idle.pop()
            worker.dismissed = True
            self._leaving.append(worker)
            self._live -= 1

    def _take_queue(self) -> list[Job]:
        """All queued jobs, marked as ended; the caller refuses them."""
        queued = list(self._queue)
        self._queue.clear()
        for job in queued:
            job.state = JobState.DONE
        return queued

    def _note_wait(self, job: Job) -> None:
        if job.started is not None:
            self._waits.append(job.started - job.submitted)

    def _note_end(self) -> None:
        if self._closed and self._live == 0:
            self._starter.end()
            self._ended.set()

    # The methods below are called without the lock.

    def _wake(self, worker: Worker | None) -> None:
        """Send a worker that `_fetch` chose on its way, without waiting for it."""
        if worker is None:
            return
        if worker.thread is not None and self._running < CROWD:
            worker.wake.release()
            return
        try:
            self._starter.ask(worker)  # safe without the lock, as one worker at a time is fetched
        except RuntimeError as error:
            self._go_without(error)

    def _send(self, worker: Worker) -> None:
        """On the starter's thread: start or wake a worker."""
        if self._running >= CROWD:
            time.sleep(max(0.0, self._sent + PACE - time.monotonic()))
        self._sent = time.monotonic()
        if worker.thread is not None:
            worker.wake.release()
            return
        self._serial += 1
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"{self._name}-{self._serial}", daemon=True
        )
        try:
            worker.thread.start()
        except RuntimeError as error:  # the system has no more threads
            self._go_without(error)

    def _see_off(self) -> None:
        """Wake one worker that was dismissed while idle; it wakes the next before it ends.

        To wake all at once would have whoever does it wait for the interpreter behind each of them.
        """
        with self._lock:
            worker = self._leaving.pop() if self._leaving else None
        if worker is not None:
            worker.wake.release()

    def _go_without(self, error: RuntimeError) -> None:
        """Go on with fewer threads; with none at all, refuse those who wait."""
        with self._lock:
            self._fetching = False
            self._live -= 1
            stranded = self._take_queue() if self._live == 0 else []
            worker = self._fetch() if self._idle else None  # idle while this one was thought to come
            self._note_end()
        self._wake(worker)
        _refuse(stranded, RuntimeError(f"cannot start a thread for the tool: {error}"))

    def _work(self, worker: Worker) -> None:
        """What a worker's thread does from its first wake to its last."""
        while not worker.dismissed:
            with self._lock:
                self._fetching = False
                job = self._next(worker)
                following = self._fetch()
            self._wake(following)
            while job is not None:
                job = self._run(job, worker)
            if not worker.dismissed:
                worker.wake.acquire()
        self._see_off()

    def _run(self, job: Job, worker: Worker) -> Job | None:
        """Run a job on the worker's thread, report it, and return the worker's next."""
        job.run()
        with self._lock:
            if not self._finish(job):
                return None
            following = self._next(worker)
        job.report()
        return following


def _refuse(jobs: list[Job], error: BaseException) -> None:
    for job in jobs:
        job.error = error
        job.report()
