"""One call of an async function on the caller's event loop, in a task of its own.

Nothing that the function raises reaches the loop or the caller's task, and a function that will not be
cancelled is left behind at its deadline rather than waited for, by the caller and by the loop's end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rollway.tools.pool_records import CallResult

UNWIND_SECONDS = 1.0  # how long a caller that was cancelled waits for the function to clean up
END_SECONDS = 5.0  # how long a loop that ends waits for functions that were given up before


class AsyncCounts:
    """Async calls of one pool, from any number of loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.running = 0
        self.completed = 0
        self.late = 0
        self.hanging = 0  # cancelled, and not ended yet
        self._watchers: set[asyncio.Task[None]] = set()  # of those; the loop itself keeps no task alive

    def began(self) -> None:
        with self._lock:
            self.running += 1

    def ended(self) -> None:
        with self._lock:
            self.running -= 1
            self.completed += 1

    def given_up(self, task: asyncio.Task[Any]) -> None:
        """Its caller has been answered; when it ends, that is late."""
        with self._lock:
            self.running -= 1
            self.hanging += 1
        task.add_done_callback(self._ended_late)
        # `asyncio.run` waits for every task that it knows, without end; so it is shown one that does end.
        asyncio.tasks._unregister_task(task)
        watcher = asyncio.get_running_loop().create_task(_watch(task))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    def _ended_late(self, task: asyncio.Task[Any]) -> None:
        with self._lock:
            self.hanging -= 1
            self.late += 1


async def call_async(
    function: Callable[[], Awaitable[Any]], timeout: float | None, counts: AsyncCounts
) -> CallResult:
    """Await ``function()`` for at most ``timeout`` seconds.

    Raises:
        asyncio.CancelledError: the caller was cancelled; the function has been cancelled too.
    """
    started = time.monotonic()
    task = asyncio.get_running_loop().create_task(_guarded(function))
    counts.began()
    try:
        await asyncio.wait((task,), timeout=timeout)
    except asyncio.CancelledError:
        counts.given_up(task)
        task.cancel()
        await asyncio.wait((task,), timeout=UNWIND_SECONDS)
        raise
    duration = time.monotonic() - started
    if not task.done():
        counts.given_up(task)
        task.cancel()
        await asyncio.sleep(0)  # a watcher that has not begun could not wait
        return CallResult(timed_out=True, duration=duration)
    counts.ended()
    value, error = task.result()
    return CallResult(value, error, duration=duration)


async def _watch(task: asyncio.Task[Any]) -> None:
    """Wait for a task that was given up; no longer than `END_SECONDS` once the loop ends."""
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:  # the task is not cancelled again, which would end its cleaning up
        await asyncio.wait((task,), timeout=END_SECONDS)
        if not task.done():
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # it was given up knowingly


async def _guarded(function: Callable[[], Awaitable[Any]]) -> tuple[Any, BaseException | None]:
    """A task that ends by SystemExit or KeyboardInterrupt would stop the whole loop."""
    try:
        return await function(), None
    except BaseException as error:
        return None, error
