"""Where tools run: sync ones on the pool's own daemon threads, async ones on the caller's event loop.

Every call is answered exactly once: by its result, at its deadline, or when the pool is closed. Time in the
queue and time of running are counted apart, and a deadline bounds only the latter.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import Any, Self
from weakref import WeakKeyDictionary

import msgspec

from rollway.tools.async_calls import AsyncCounts, call_async
from rollway.tools.mailbox import Mailbox
from rollway.tools.pool_records import CallResult, PoolClosed, PoolStats, percentile
from rollway.tools.thread_calls import ThreadCall
from rollway.tools.workers import Workers


class ToolPool:
    """Runs tools. One pool serves any number of event loops and threads; two pools share nothing.

    A pool is closed by `close` or as a context manager, sync or async. Its threads are daemons: a hung tool
    does not keep the process from exiting.
    """

    def __init__(self, max_workers: int, *, name: str = "rollway-tool") -> None:
        """Make a pool. Threads are started when they are needed.

        Args:
            max_workers: sync calls that may run at a time, at least 1; see `resize`. Async calls take no
                thread and are not bounded.
            name: what its threads are called.
        """
        self._workers = Workers(_checked(max_workers), name)
        self._mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox[ThreadCall]] = (
            WeakKeyDictionary()
        )
        self._async = AsyncCounts()
        self._closed = False

    async def call(
        self, function: Callable[..., Any], /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> CallResult:
        """Run ``function(*args, **kwargs)`` and say what came of it; what it raises is in the result.

        The function sees a copy of the caller's context variables. When the caller is cancelled, a queued
        call is dropped, a running thread is given up, and an async function is cancelled.

        Args:
            function: sync or async. A sync function that returns a coroutine has it awaited on the loop.
            timeout: seconds that it may run, not counting the queue; ``None`` is no bound. (For a function
                with a ``timeout`` parameter of its own, use `functools.partial`.)

        Raises:
            PoolClosed: the pool had been closed before.
        """
        if self._closed:
            raise _closed_error()
        bound = functools.partial(function, *args, **kwargs) if args or kwargs else function
        if is_async(function):
            return await call_async(bound, timeout, self._async)
        result = await self._call_in_thread(bound, timeout)
        if inspect.iscoroutine(result.value):
            return await self._await_returned(result, timeout)
        return result

    async def _call_in_thread(self, function: Callable[[], Any], timeout: float | None) -> CallResult:
        in_context = functools.partial(contextvars.copy_context().run, function)
        call = ThreadCall(in_context, timeout, self._workers, self._mailbox())
        if not self._workers.submit(call):
            raise _closed_error()
        if not call.announced:  # one that is has its deadline set when its thread reports that it began
            call.look()
        try:
            return await call.future
        except asyncio.CancelledError:
            call.withdraw()
            raise

    async def _await_returned(self, first: CallResult, timeout: float | None) -> CallResult:
        left = None if timeout is None else max(0.0, timeout - first.duration)
        second = await call_async(lambda: first.value, left, self._async)
        return msgspec.structs.replace(second, duration=first.duration + second.duration, queued=first.queued)

    def _mailbox(self) -> Mailbox[ThreadCall]:
        loop = asyncio.get_running_loop()
        mailbox = self._mailboxes.get(loop)
        if mailbox is None:  # only this loop's thread makes its mailbox
            mailbox = self._mailboxes[loop] = Mailbox(ThreadCall.look)
        return mailbox

    def resize(self, max_workers: int) -> None:
        """Let ``max_workers`` sync calls run at a time from now on.

        Growing starts queued calls at once. Shrinking interrupts nothing and drops nothing: threads end as
        their calls do.
        """
        self._workers.resize(_checked(max_workers))

    def stats(self) -> PoolStats:
        """How the pool stands now."""
        counts = self._workers.counts()
        waits = sorted(counts.waits)
        return PoolStats(
            size=counts.size,
            running=counts.running,
            running_async=self._async.running,
            queued=counts.queued,
            written_off=counts.given_up + self._async.hanging,
            late=counts.late + self._async.late,
            completed=counts.completed + self._async.completed,
            wait_p50=percentile(waits, 0.5),
            wait_p90=percentile(waits, 0.9),
            wait_p99=percentile(waits, 0.99),
        )

    def close(self, timeout: float = 0.0) -> bool:
        """Take no more calls and answer the queued ones with `PoolClosed`. Running calls go on.

        Args:
            timeout: seconds to wait for running sync calls. Blocks; on an event loop leave it at 0.

        Returns:
            Have all threads ended but those that were written off?
        """
        self._closed = True
        self._workers.close(_closed_error())
        return self._workers.join(timeout)

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
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _checked(max_workers: int) -> int:
    if max_workers < 1:
        raise ValueError(f"a tool pool needs at least 1 worker, got {max_workers}")
    return max_workers


def _closed_error() -> PoolClosed:
    return PoolClosed("the tool pool is closed; make a new one with ToolPool(...)")
