"""Process tools of one pool: a limited number of worker processes run calls, and idle ones are kept.

No thread waits for a call, and nothing of a call outlives its deadline, its caller or the pool: threads are
only started to start a process and to see one end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rollway.clock import Lane, RolloutClock, WaitKind
from rollway.tools.places import Places
from rollway.tools.pool_records import CallResult, PoolClosed, ProcessEnded
from rollway.tools.process_calls import call_result
from rollway.tools.process_pickling import pack_call
from rollway.tools.worker_process import WorkerProcess, ended_by


class _Queue:
    """What a call waits for: a place, its process, and what that has to import. None of it is the tool's."""

    def __init__(self) -> None:
        self._asked = time.monotonic()
        self._ended: float | None = None
        self._clock: RolloutClock | Lane | None = None

    @property
    def seconds(self) -> float:
        return (time.monotonic() if self._ended is None else self._ended) - self._asked

    @property
    def seconds_since(self) -> float:
        """That the call has run; 0.0: it has not begun."""
        return 0.0 if self._ended is None else time.monotonic() - self._ended

    def end(self, ago: float = 0.0) -> None:
        """The call has begun so many seconds ago."""
        self._ended = time.monotonic() - ago
        if self._clock is not None:
            self._clock.changed()

    @contextmanager
    def entered_on(self, clock: RolloutClock | Lane | None) -> Iterator[None]:
        """The block, up to `end`, is a wait."""
        self._clock = clock
        wait = None if clock is None else clock.begin_wait(WaitKind.POOL, self._asked, lambda: self._ended)
        try:
            yield
        finally:
            if clock is not None and wait is not None:
                clock.end_wait(wait)


class ProcessCalls:
    """Runs calls in processes of their own. `call` on any event loop, the rest from any thread."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._places = Places(size)
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._closed: PoolClosed | None = None
        self.completed = 0

    @property
    def running(self) -> int:
        return self._places.taken

    @property
    def waiting(self) -> int:
        return self._places.waiting

    async def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        clock: RolloutClock | Lane | None = None,
    ) -> CallResult:
        """Run ``function(*args, **kwargs)`` for at most ``timeout`` seconds; the value is a `ToolAnswer`.

        Raises:
            PoolClosed: the pool had been closed before it began.
            asyncio.CancelledError: the caller was cancelled; the process is being killed.
        """
        queue = _Queue()
        try:
            packed = pack_call(function, args, kwargs)
        except Exception as error:
            return CallResult(error=TypeError(f"cannot send the call to a separate process: {error}"))
        with queue.entered_on(clock):
            try:
                worker = await self._taken()
            except PoolClosed:
                raise
            except (OSError, ProcessEnded, RuntimeError) as error:
                return CallResult(error=error, queued=queue.seconds)
            return await self._ask(worker, packed, timeout, queue)

    async def _taken(self) -> WorkerProcess:
        """A worker, as soon as there is a place for one and it has started."""
        await self._places.take()
        try:
            return self._take_idle() or await self._start()
        except BaseException:
            self._places.give_back()
            raise

    async def _ask(
        self, worker: WorkerProcess, packed: bytes, timeout: float | None, queue: _Queue
    ) -> CallResult:
        try:
            reply = await worker.ask(packed, timeout, queue.end)
        except ProcessEnded:
            duration = queue.seconds_since
            code = await self._see_end(worker)
            error = self._closed or ProcessEnded(ended_by(code))
            return CallResult(error=error, duration=duration, queued=queue.seconds)
        except BaseException:
            self._end(worker)
            raise
        if reply is None:
            self._end(worker)
            return CallResult(timed_out=True, duration=queue.seconds_since, queued=queue.seconds)
        self.completed += 1
        if reply.clean and worker.alone:
            self._keep(worker)
        else:
            self._end(worker)
        return call_result(reply, timeout, queue.seconds)

    def resize(self, size: int) -> None:
        """Let ``size`` calls run at a time from now on."""
        self._places.resize(size)
        with self._lock:
            spare, self._idle = self._idle[size:], self._idle[:size]
        _in_thread(_end_all, spare)

    def close(self, error: PoolClosed, timeout: float = 0.0) -> bool:
        """Refuse further calls, wait ``timeout`` seconds for those that run, and kill every process.

        Returns:
            Did all running calls end by themselves?
        """
        self._places.close(error)
        in_time = self._places.join(timeout)
        with self._lock:
            self._closed = error
            idle, self._idle = self._idle, []
            running = list(self._busy)
        for worker in (*running, *idle):
            worker.cut()
        _in_thread(_end_all, idle)
        return in_time

    def _take_idle(self) -> WorkerProcess | None:
        """The worker that fell idle last, if there is one that will do."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                worker = self._idle.pop()
                if worker.ready:
                    self._busy.add(worker)
                    return worker
            _in_thread(worker.end)

    async def _start(self) -> WorkerProcess:
        """Start a worker without blocking the loop. If the caller is gone by then, it is kept for others."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[WorkerProcess] = loop.create_future()

        def hand_over(worker: WorkerProcess | None, error: Exception | None) -> None:
            if worker is None:
                assert error is not None
                if not future.done():
                    future.set_exception(error)
            elif future.done():
                self._put_back(worker)
            else:
                future.set_result(worker)

        def start() -> None:
            worker = error = None
            try:
                worker = WorkerProcess.start()
            except Exception as raised:
                error = raised
            try:
                loop.call_soon_threadsafe(hand_over, worker, error)
            except RuntimeError:  # the loop is closed
                if worker is not None:
                    self._put_back(worker)

        _in_thread(start)
        worker = await future
        with self._lock:
            self._busy.add(worker)
            closed = self._closed
        if closed is not None:
            worker.cut()
        return worker

    def _keep(self, worker: WorkerProcess) -> None:
        """A call has ended well: its worker and its place are for the next."""
        self._put_back(worker)
        self._places.give_back()

    def _put_back(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._busy.discard(worker)
            kept = self._closed is None and len(self._idle) < self._places.size
            if kept:
                self._idle.append(worker)
        if not kept:
            _in_thread(worker.end)

    def _end(self, worker: WorkerProcess) -> None:
        """Kill a worker; its place is free when it is gone."""
        worker.cut()
        _in_thread(self._end_and_give_back, worker)

    def _end_and_give_back(self, worker: WorkerProcess) -> int:
        try:
            return worker.end()
        finally:
            with self._lock:
                self._busy.discard(worker)
            self._places.give_back()

    async def _see_end(self, worker: WorkerProcess) -> int:
        """Clean up after a worker that has ended, and say with which exit code."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()

        def tell(code: int) -> None:
            if not future.done():
                future.set_result(code)

        def see() -> None:
            code = self._end_and_give_back(worker)
            try:
                loop.call_soon_threadsafe(tell, code)
            except RuntimeError:  # the loop is closed
                pass

        _in_thread(see)
        return await future


def _end_all(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        worker.end()


def _in_thread(function: Callable[..., Any], *args: Any) -> None:
    threading.Thread(target=function, args=args, name="rollway-process", daemon=True).start()
