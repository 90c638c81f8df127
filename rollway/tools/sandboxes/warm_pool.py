"""Fresh sandboxes without the wait: some are kept ready ahead, and each is used once.

A sandbox is in one place at any moment: starting, ready, in use or closing. Whatever is cancelled or fails,
it moves on to be used or closed, and none is used twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import msgspec

from rollway.statistics import percentiles
from rollway.tools.sandboxes.opening import open_sandbox
from rollway.tools.sandboxes.protocol import Sandbox, SandboxError
from rollway.tools.sandboxes.reaping import reap_dead_workers
from rollway.tools.sandboxes.spec import SandboxSpec

STARTS_AT_A_TIME = 8
STALE_SECONDS = 30.0  # a sandbox that waited longer is tested before use
TRIAL_SECONDS = 10.0
WAITS_KEPT = 1000


class SandboxPoolStats(msgspec.Struct, frozen=True):
    """How a pool stands at one moment."""

    ready: int
    starting: int
    in_use: int
    closing: int
    waiting: int  # calls of `acquire`
    opened: int  # so far, as are those below
    failed: int  # starts
    died: int  # while they were ready
    close_failed: int
    wait_p50: float  # seconds from `acquire` to a sandbox, of the last thousand
    wait_p90: float
    wait_max: float


class SandboxPool:
    """Sandboxes of one kind, on one event loop. Closed by `close`, or as an async context manager."""

    def __init__(
        self,
        spec: SandboxSpec,
        *,
        warm: int = 0,
        most: int | None = None,
        starts: int = STARTS_AT_A_TIME,
        open: Callable[[SandboxSpec], Awaitable[Sandbox]] = open_sandbox,
        prepare: Callable[[SandboxSpec], Awaitable[None]] = reap_dead_workers,
    ) -> None:
        """Make a pool. Nothing is started before `start` or the first `acquire`.

        Args:
            warm: how many are kept ready ahead.
            most: that exist at a time, ready ones and closing ones too; ``None`` is no bound.
            starts: that are made at a time.
            open: makes one.
            prepare: called once, before the first is made.

        Raises:
            ValueError: ``warm`` is negative or more than ``most``, or ``most`` or ``starts`` is less than 1.
        """
        if warm < 0 or starts < 1 or (most is not None and (most < 1 or warm > most)):
            raise ValueError(
                f"invalid sandbox pool: {warm} warm of at most {most}, {starts} starting at a time"
            )
        self.spec, self._warm, self._most, self._starts = spec, warm, most, starts
        self._open, self._prepare = open, prepare
        self._prepared = False
        self._preparing = asyncio.Lock()
        self._ready: deque[tuple[Sandbox, float]] = deque()  # with when it became so
        self._starting: set[asyncio.Task[None]] = set()
        self._in_use: dict[int, Sandbox] = {}
        self._closing: set[asyncio.Task[Exception | None]] = set()
        self._waiting: deque[asyncio.Future[Sandbox]] = deque()
        self._refill = False  # keep `warm` ready; off until used, and after a failure until the next success
        self._closer: asyncio.Task[None] | None = None
        self._opened = self._failed = self._died = self._close_failed = 0
        self._waits: deque[float] = deque(maxlen=WAITS_KEPT)

    def start(self) -> None:
        """Begin to make the ready ones, in the background."""
        self._check_open()
        self._refill = True
        self._balance()

    async def acquire(self) -> Sandbox:
        """A sandbox that nobody has used. Hand it back to `release`, which closes it.

        Raises:
            SandboxError: it could not be started (the cause says why), or the pool is closed.
        """
        began = time.monotonic()
        self._refill = self._refill or not self._failed
        while True:
            self._check_open()
            sandbox, since = await self._next()
            if await self._is_well(sandbox, since):
                self._waits.append(time.monotonic() - began)
                return sandbox

    async def release(self, sandbox: Sandbox) -> None:
        """Close a sandbox of this pool's; its place is free once that is done.

        Raises:
            SandboxError: it could not be closed.
        """
        if id(sandbox) not in self._in_use:
            return await sandbox.close()
        error = await asyncio.shield(self._put_away(sandbox))
        if error is not None:
            raise error
        return None

    @asynccontextmanager
    async def sandbox(self) -> AsyncIterator[Sandbox]:
        """`acquire` and `release`."""
        sandbox = await self.acquire()
        try:
            yield sandbox
        finally:
            await self.release(sandbox)

    def stats(self) -> SandboxPoolStats:
        """How the pool stands now."""
        p50, p90, longest = percentiles(self._waits, [50, 90, 100]) or [0.0, 0.0, 0.0]
        return SandboxPoolStats(
            ready=len(self._ready),
            starting=len(self._starting),
            in_use=len(self._in_use),
            closing=len(self._closing),
            waiting=len(self._waiting),
            opened=self._opened,
            failed=self._failed,
            died=self._died,
            close_failed=self._close_failed,
            wait_p50=p50,
            wait_p90=p90,
            wait_max=longest,
        )

    async def close(self) -> None:
        """Close every sandbox, in use or not, and end starts that are under way. Waiting calls fail."""
        if self._closer is None:
            self._closer = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closer)

    async def _close(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(_closed_error())
        for starting in self._starting:
            starting.cancel()
        for sandbox in [*(sandbox for sandbox, _ in self._ready), *self._in_use.values()]:
            self._put_away(sandbox)
        self._ready.clear()
        while self._starting or self._closing:  # a start that ends now closes what it made
            await asyncio.wait([*self._starting, *self._closing])

    async def _next(self) -> tuple[Sandbox, float]:
        """The next ready one, now in use, and since when it was ready."""
        if self._ready:
            sandbox, since = self._ready.popleft()
            self._in_use[id(sandbox)] = sandbox
            self._balance()
            return sandbox, since
        waiting: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._balance()
        try:
            return await waiting, time.monotonic()
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._put_away(waiting.result())
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def _is_well(self, sandbox: Sandbox, since: float) -> bool:
        """Did it outlive its wait? One that did not is put away."""
        well = not sandbox.closed
        try:
            if well and time.monotonic() - since > STALE_SECONDS:
                well = (await sandbox.exec(["true"], timeout=TRIAL_SECONDS)).exit_code == 0
        except SandboxError:
            well = False
        except BaseException:
            self._put_away(sandbox)
            raise
        if not well:
            self._died += 1
            self._put_away(sandbox)
        return well

    def _balance(self) -> None:
        """Start as many as are wanted and allowed."""
        if self._closer is not None:
            return
        wanted = len(self._waiting) + (self._warm if self._refill else 0)
        missing = wanted - len(self._ready) - len(self._starting)
        room = self._starts - len(self._starting)
        if self._most is not None:
            exist = len(self._ready) + len(self._starting) + len(self._in_use) + len(self._closing)
            room = min(room, self._most - exist)
        for _ in range(min(missing, room)):
            task = asyncio.ensure_future(self._start_one())
            self._starting.add(task)
            task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        self._balance()

    async def _start_one(self) -> None:
        try:
            async with self._preparing:
                if not self._prepared:
                    await self._prepare(self.spec)
                    self._prepared = True
            sandbox = await self._open(self.spec)
        except Exception as error:
            self._failed += 1
            self._refill = False  # the next acquire tries again, so that a fault does not spin
            self._fail_one(error)
            return
        self._opened += 1
        self._refill = True
        self._hand_out(sandbox)

    def _hand_out(self, sandbox: Sandbox) -> None:
        if self._closer is None:
            while self._waiting:
                waiting = self._waiting.popleft()
                if not waiting.done():
                    self._in_use[id(sandbox)] = sandbox
                    waiting.set_result(sandbox)
                    return
            if len(self._ready) < self._warm:
                self._ready.append((sandbox, time.monotonic()))
                return
        self._put_away(sandbox)  # whoever wanted it does so no more

    def _fail_one(self, error: Exception) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                failure = SandboxError(f"cannot start a sandbox: {error}")
                failure.__cause__ = error
                waiting.set_exception(failure)
                return

    def _put_away(self, sandbox: Sandbox) -> asyncio.Task[Exception | None]:
        """Close it in the background."""
        self._in_use.pop(id(sandbox), None)
        task = asyncio.ensure_future(self._close_one(sandbox))
        self._closing.add(task)
        task.add_done_callback(self._was_closed)
        return task

    def _was_closed(self, task: asyncio.Task[Exception | None]) -> None:
        self._closing.discard(task)
        self._balance()

    async def _close_one(self, sandbox: Sandbox) -> Exception | None:
        try:
            await sandbox.close()
        except Exception as error:
            self._close_failed += 1
            return error
        return None

    def _check_open(self) -> None:
        if self._closer is not None:
            raise _closed_error()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def _closed_error() -> SandboxError:
    return SandboxError("the sandbox pool is closed")
