"""Calling a user's functions where they hold up nobody: sync ones on threads, async ones on the event loop.

The invariant: whoever calls has an answer when the function's deadline has passed, whatever the function
does. One that does not return is left behind, and a log line says in which rollout, and where it stands.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from rollway.clock import RolloutClock
from rollway.tools.pool import ToolPool, is_async
from rollway.tools.pool_records import CallResult

PATIENCE = 0.005
"""Seconds that a sync function waits for a thread that is at work before it gets another one: nearly all take
microseconds, and each thread that wakes takes the interpreter from the event loop."""

MOST_STACK = 4_000
"""Characters of a stack in a log line, from its end: where a function hangs."""

_log = logging.getLogger(__name__)


def hook_threads(most: int) -> ToolPool:
    """A pool for `Hooks`: functions that hang and tools that are slow do not starve each other."""
    processes = max(
        1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return ToolPool(most, name="rollway-hook", patience=PATIENCE, max_processes=processes)


class Call(NamedTuple):
    """One call of a user's function."""

    name: str  # of the hook, such as "prompt" or "reward:exact"
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})


class Hooks:
    """Calls the functions of one rollout. Used on the thread of its event loop.

    Sync functions run in ``pool``, one after the other; so those of different rollouts run side by side.
    ``timeout`` is the seconds that each has, its time in the pool's queue not counted; None is no limit.
    """

    def __init__(self, pool: ToolPool, *, timeout: float | None, clock: RolloutClock | None = None) -> None:
        self.pool = pool
        self.timeout = timeout
        self.clock = clock if clock is not None else RolloutClock()

    async def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returned.

        Raises:
            TimeoutError: it did not return in time.
            BaseException: what it raised itself; a KeyboardInterrupt of its own as a RuntimeError.
        """
        (came,) = await self.call_all([Call(name, function, args)])
        return _value(came)

    async def call_in_turn(self, calls: Sequence[Call]) -> list[Any]:
        """What sync functions that follow each other returned.

        Raises: as `call`, for the first that failed; those after it are not called.
        """
        with self.clock.doing(calls[0].name):
            results = await self._call_in_thread(calls, until_failure=True)
        return [_value(came) for came in results]

    async def call_all(self, calls: Sequence[Call]) -> list[CallResult]:
        """Make calls one after the other. Each has a result, whatever came of those before it.

        Sync ones that follow each other cost one change of threads together. A call that took too long has
        ``timed_out`` and a `TimeoutError`.

        Raises:
            asyncio.CancelledError: the caller was cancelled.
        """
        results: list[CallResult] = []
        while len(results) < len(calls):
            begin = len(results)
            end = begin
            while end < len(calls) and not is_async(calls[end].function):
                end += 1
            if end == begin:
                results.append(await self._await(calls[begin]))
            else:
                results += await self._call_in_thread(calls[begin:end])
        return results

    async def _call_in_thread(
        self, calls: Sequence[Call], *, until_failure: bool = False
    ) -> list[CallResult]:
        """Results from the first call on: of all, or up to the one that took too long."""
        batch = _Batch(calls, self.clock, until_failure)
        with self.clock.doing(calls[0].name):
            await self._run(batch)
            results = batch.results[:]
            if batch.since is not None:  # it was left at a call
                results.append(self._late(calls[len(results)], batch.thread))
            for place, came in enumerate(results):
                if inspect.isawaitable(came.value):
                    results[place] = await self._await(calls[place], came.value, came.duration)
        return results

    async def _run(self, batch: _Batch) -> None:
        """Run a batch until it has ended, or until one of its calls has had its time."""
        if self.timeout is None:
            await self._finish(batch)
            return
        try:
            async with asyncio.timeout(None) as scope:
                batch.watch(scope, self.timeout)
                await self._finish(batch)
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            batch.unwatch()

    async def _finish(self, batch: _Batch) -> None:
        try:
            came = await self.pool.call(batch.run)
        finally:
            batch.left = True
        if came.error is not None:
            raise came.error

    async def _await(self, call: Call, made: Awaitable[Any] | None = None, spent: float = 0.0) -> CallResult:
        """An async call, or what a sync one gave to be awaited."""
        left = None if self.timeout is None else max(0.0, self.timeout - spent)

        async def awaiting(clock: RolloutClock = self.clock) -> Any:  # whose frame names the rollout
            return await (made if made is not None else call.function(*call.args, **call.kwargs))

        with self.clock.doing(call.name):
            came = await self.pool.call(awaiting, timeout=left)
        return self._late(call, None) if came.timed_out else _without_interrupt(call, came)

    def _late(self, call: Call, thread: int | None) -> CallResult:
        told = f"{call.name} did not return within {self.timeout:g} s"
        if self.clock.name:
            told += f", in rollout {self.clock.name}"
        stands = stack_of(thread)
        _log.warning("%s; it is left behind%s", told, f", and stands at:\n{stands}" if stands else "")
        return CallResult(error=TimeoutError(told), timed_out=True)


class _Batch:
    """Calls that one thread makes one after the other."""

    def __init__(self, calls: Sequence[Call], clock: RolloutClock, until_failure: bool) -> None:
        self.results: list[CallResult] = []
        self.since: float | None = None  # when the call that is being made began; None: none is
        self.thread: int | None = None
        self.left = False  # nobody waits for the rest any more
        self._lock = threading.Lock()  # a call ends in time or late, and never both
        self._calls = calls
        self._clock = clock
        self._until_failure = until_failure
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, scope: asyncio.Timeout, seconds: float, left: float | None = None) -> None:
        """Have ``scope`` expire once a call has taken ``seconds``; look again when that may be so."""
        # Nothing here refers to itself: what waits for the garbage collector keeps a whole trajectory alive.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds if left is None else left, self._look, scope, seconds)

    def unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, scope: asyncio.Timeout, seconds: float) -> None:
        with self._lock:
            left = seconds if self.since is None else self.since + seconds - time.monotonic()
            self.left = left <= 0
        if left > 0:
            self.watch(scope, seconds, left)
        else:
            self._timer = None
            scope.reschedule(asyncio.get_running_loop().time())

    def run(self) -> None:
        """On the thread."""
        self.thread = threading.get_ident()
        for call in self._calls:
            with self._lock:
                if self.left:
                    return
                self.since = began = time.monotonic()
            self._clock.phase = call.name
            value, error = None, None
            try:
                value = call.function(*call.args, **call.kwargs)
            except BaseException as raised:
                error = raised.with_traceback(raised.__traceback__ and raised.__traceback__.tb_next)
            came = CallResult(value, error, duration=time.monotonic() - began)
            with self._lock:
                if self.left:
                    return
                self.since = None
                self.results.append(_without_interrupt(call, came))
            if error is not None and self._until_failure:
                return


def _value(came: CallResult) -> Any:
    if came.error is not None:
        raise came.error
    return came.value


def _without_interrupt(call: Call, came: CallResult) -> CallResult:
    """A KeyboardInterrupt that a user's function raised would end whoever raises it again."""
    error = came.error
    if error is None or isinstance(error, Exception | SystemExit | asyncio.CancelledError):
        return came
    told = RuntimeError(f"{call.name} raised {type(error).__name__}")
    told.__cause__ = error
    return msgspec.structs.replace(came, error=told)


def stack_of(thread: int | None) -> str:
    """Where a thread stands now, innermost last; nothing when it has ended."""
    frame = sys._current_frames().get(thread) if thread is not None else None
    return "" if frame is None else "".join(traceback.format_stack(frame))[-MOST_STACK:].rstrip()
