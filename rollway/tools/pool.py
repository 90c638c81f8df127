"""Where tools run: sync ones on the pool's own daemon threads, async ones on the caller's event loop, those
that must be killable in separate processes.

Every call ends exactly once: with its result, at its deadline, or when the pool closes. Time in the queue
and running time are measured separately, and a timeout limits only the latter.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
import time
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

import msgspec

from rollway.clock import Lane, RolloutClock, WaitKind
from rollway.statistics import percentiles
from rollway.tools.async_calls import AsyncCounts, call_async
from rollway.tools.pool_records import CallResult, PoolClosed, PoolStats
from rollway.tools.thread_calls import LoopCalls, ThreadCall
from rollway.tools.workers import Workers

if TYPE_CHECKING:
    from rollway.tools.processes import ProcessCalls


ASKING_AT_A_TIME = 1024
"""Functions that may wait for somebody's answer at a time. Each has a thread that sleeps."""


class ToolPool:
    """Runs tools. One pool serves any number of event loops and threads; two pools share nothing.

    A pool is closed by `close` or as a context manager, sync or async. Its threads are daemons: a hung tool
    does not keep the process from exiting.
    """

    def __init__(
        self,
        max_workers: int,
        *,
        name: str = "rollway-tool",
        patience: float | None = None,
        max_processes: int | None = None,
    ) -> None:
        """Make a pool. Threads are started when they are needed.

        Args:
            max_workers: sync calls that may run at a time, at least 1; see `resize`. Async calls take no
                thread and are not bounded.
            name: what its threads are called.
            patience: seconds that a call waits for a thread which is at work before another is woken for it;
                for calls that are nearly all quick. None: it does not wait.
            max_processes: calls that may run in processes of their own at a time; None: as many as in
                threads.
        """
        self._name = name
        self._max_processes = max_processes
        self._workers = Workers(_checked(max_workers), name, patience)
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopCalls] = WeakKeyDictionary()
        self._async = AsyncCounts()
        self._processes: ProcessCalls | None = None  # from the first process tool on
        self._making_processes = threading.Lock()
        self._asking: ToolPool | None = None  # from the first call of `asking` on
        self._closed = False

    async def call(
        self, function: Callable[..., Any], /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> CallResult:
        """Run ``function(*args, **kwargs)`` and return the outcome, including an exception.

        The function sees a copy of the caller's context variables. If the caller is cancelled, a queued
        call is dropped, a running thread is abandoned, and an async function is cancelled.

        Args:
            function: sync or async. A sync function that returns a coroutine has it awaited on the loop.
            timeout: seconds that it may run, not counting the queue; ``None`` is no limit. (For a function
                with a ``timeout`` parameter of its own, use `functools.partial`.)

        Raises:
            PoolClosed: the pool had been closed before.
        """
        bound = functools.partial(function, *args, **kwargs) if args or kwargs else function
        return await self.call_bound(bound, timeout=timeout)

    async def call_bound(
        self,
        function: Callable[[], Any],
        *,
        timeout: float | None = None,
        clock: RolloutClock | Lane | None = None,
    ) -> CallResult:
        """`call` with a function without arguments, whose time in the queue is entered on ``clock``."""
        if self._closed:
            raise _closed_error()
        if is_async(function):
            return await call_async(function, timeout, self._async)
        result = await self._call_in_thread(function, timeout, clock)
        if inspect.iscoroutine(result.value):
            return await self._await_returned(result, timeout)
        return result

    async def call_in_process(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        timeout: float | None = None,
        clock: RolloutClock | Lane | None = None,
    ) -> CallResult:
        """Run ``function(*args, **kwargs)`` in a separate process; the value is text for the model.

        At the deadline, or when the caller is cancelled, the process and all that it started are killed.
        No more than ``max_workers`` run at a time, beside the threads; the function, its arguments and what
        they refer to are copied there (by ``cloudpickle``).

        Raises:
            PoolClosed: the pool had been closed before.
        """
        return await self._process_calls().call(function, args, kwargs, timeout, clock)

    def _process_calls(self) -> ProcessCalls:
        if self._processes is not None and not self._closed:
            return self._processes
        from rollway.tools.processes import ProcessCalls  # only process tools need cloudpickle

        with self._making_processes:
            if self._closed:
                raise _closed_error()
            if self._processes is None:
                self._processes = ProcessCalls(self._max_processes or self._workers.counts().size)
        return self._processes

    def asking(self) -> ToolPool:
        """A pool of threads for functions that wait for somebody to answer, such as approval: they take no
        place of the tools. It is closed with this one.

        Raises:
            PoolClosed: the pool had been closed before.
        """
        with self._making_processes:
            if self._closed:
                raise _closed_error()
            if self._asking is None:
                self._asking = ToolPool(ASKING_AT_A_TIME, name=f"{self._name}-ask")
        return self._asking

    async def _call_in_thread(
        self, function: Callable[[], Any], timeout: float | None, clock: RolloutClock | Lane | None
    ) -> CallResult:
        in_context = functools.partial(contextvars.copy_context().run, function)
        calls = self._loop_calls()
        call = ThreadCall(in_context, timeout, self._workers, calls.mailbox)
        if clock is not None:
            call.on_begin = clock.changed
        if not calls.submit(call):
            raise _closed_error()
        if not call.announced:  # one that is has its deadline set when its thread reports that it began
            call.look()
        wait = None
        if clock is not None:
            wait = clock.begin_wait(WaitKind.POOL, call.submitted, lambda: call.started)
        try:
            return await call.future
        except asyncio.CancelledError:
            call.withdraw()
            raise
        finally:
            if clock is not None and wait is not None:
                clock.end_wait(wait)

    async def _await_returned(self, first: CallResult, timeout: float | None) -> CallResult:
        left = None if timeout is None else max(0.0, timeout - first.duration)
        second = await call_async(lambda: first.value, left, self._async)
        return msgspec.structs.replace(second, duration=first.duration + second.duration, queued=first.queued)

    def _loop_calls(self) -> LoopCalls:
        loop = asyncio.get_running_loop()
        calls = self._loops.get(loop)
        if calls is None:  # only this loop's thread makes its own
            calls = self._loops[loop] = LoopCalls(self._workers)
        return calls

    def resize(self, max_workers: int) -> None:
        """Set the limit on concurrent sync calls to ``max_workers``.

        Growing starts queued calls at once. Shrinking interrupts nothing and drops nothing: threads end as
        their calls do.
        """
        self._workers.resize(_checked(max_workers))
        with self._making_processes:
            if self._processes is not None:
                self._processes.resize(max_workers)

    def stats(self) -> PoolStats:
        """Counts and waiting times of the pool."""
        counts = self._workers.counts()
        p50, p90, p99 = percentiles(counts.waits, [50, 90, 99]) or [0.0, 0.0, 0.0]
        processes = self._processes
        return PoolStats(
            size=counts.size,
            running=counts.running,
            running_async=self._async.running,
            running_processes=processes.running if processes else 0,
            queued=counts.queued + (processes.waiting if processes else 0),
            written_off=counts.given_up + self._async.hanging,
            late=counts.late + self._async.late,
            completed=counts.completed + self._async.completed + (processes.completed if processes else 0),
            wait_p50=p50,
            wait_p90=p90,
            wait_p99=p99,
        )

    def close(self, timeout: float = 0.0) -> bool:
        """Reject new calls and end the queued ones with `PoolClosed`. Running threads continue; processes
        are killed, and their calls end with `PoolClosed`, too.

        Args:
            timeout: seconds to wait for running calls that are not async. Blocks; on an event loop leave it
                at 0.

        Returns:
            Whether all calls ended by themselves, except those of abandoned threads.
        """
        with self._making_processes:
            self._closed = True
        if self._asking is not None:
            self._asking.close()
        deadline = time.monotonic() + timeout
        self._workers.close(_closed_error())
        ended = self._workers.join(timeout)
        if self._processes is None:
            return ended
        return self._processes.close(_closed_error(), max(0.0, deadline - time.monotonic())) and ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()


def is_async(function: Callable[..., Any]) -> bool:
    """Does calling it give a coroutine? Sees through `functools.partial` and objects with an async call."""
    while isinstance(function, functools.partial):
        function = function.func
    plain = getattr(function, "__func__", function)
    if type(plain) is FunctionType and not plain.__dict__:  # as nearly all, and nothing marks it as async
        return bool(plain.__code__.co_flags & inspect.CO_COROUTINE)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _checked(max_workers: int) -> int:
    if max_workers < 1:
        raise ValueError(f"a tool pool needs at least 1 worker, got {max_workers}")
    return max_workers


def _closed_error() -> PoolClosed:
    return PoolClosed("the tool pool is closed; make a new one with ToolPool(...)")
