"""Pools for tasks that want different sandboxes: one for each spec, the ready ones for the first alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import msgspec

from rollway.tools.sandboxes.opening import open_sandbox
from rollway.tools.sandboxes.protocol import Sandbox, SandboxError
from rollway.tools.sandboxes.reaping import reap_dead_workers
from rollway.tools.sandboxes.spec import SandboxSpec
from rollway.tools.sandboxes.warm_pool import STARTS_AT_A_TIME, SandboxPool, SandboxPoolStats


class SandboxPools:
    """Sandboxes of any kind, on one event loop. Closed by `close`, or as an async context manager."""

    def __init__(
        self,
        *,
        warm: int = 0,
        most: int | None = None,
        starts: int = STARTS_AT_A_TIME,
        open: Callable[[SandboxSpec], Awaitable[Sandbox]] = open_sandbox,
        prepare: Callable[[SandboxSpec], Awaitable[None]] = reap_dead_workers,
    ) -> None:
        """Make the pools.

        Args:
            warm: how many of the first spec that is asked for are kept ready ahead.
            most: limit on sandboxes in use, of all specs together; ``None`` is no limit.
            starts: that are made at a time, of each spec.
            open: makes one.
            prepare: called once for each backend, before its first is made.

        Raises:
            ValueError: ``warm`` is negative, or ``most`` or ``starts`` is less than 1.
        """
        if warm < 0 or starts < 1 or (most is not None and most < 1):
            raise ValueError(
                f"invalid sandbox pools: at most {most}, {warm} warm, {starts} starting at a time"
            )
        self._warm, self._starts, self._open, self._prepare = warm, starts, open, prepare
        self._places = None if most is None else asyncio.Semaphore(most)
        self._pools: dict[bytes, SandboxPool] = {}
        self._lent: dict[int, tuple[Sandbox, bytes]] = {}
        self._first: bytes | None = None
        self._prepared: set[str] = set()
        self._closed = False

    async def acquire(self, spec: SandboxSpec) -> Sandbox:
        """As `SandboxPool.acquire`."""
        if self._places is not None:
            await self._places.acquire()
        try:
            if self._closed:
                raise SandboxError("the sandbox pools are closed")
            key = msgspec.json.encode(spec, order="deterministic")
            sandbox = await self._pool(key, spec).acquire()
        except BaseException:
            self._free()
            raise
        self._lent[id(sandbox)] = (sandbox, key)
        return sandbox

    async def release(self, sandbox: Sandbox) -> None:
        """As `SandboxPool.release`."""
        _, key = self._lent.pop(id(sandbox), (None, b""))
        pool = self._pools.get(key)
        if pool is None:
            return await sandbox.close()
        try:
            await pool.release(sandbox)
        finally:
            self._free()
            self._forget_if_idle(key, pool)
        return None

    @asynccontextmanager
    async def sandbox(self, spec: SandboxSpec) -> AsyncIterator[Sandbox]:
        """`acquire` and `release`."""
        sandbox = await self.acquire(spec)
        try:
            yield sandbox
        finally:
            await self.release(sandbox)

    def stats(self) -> list[tuple[SandboxSpec, SandboxPoolStats]]:
        """How each pool that is in use stands now."""
        return [(pool.spec, pool.stats()) for pool in self._pools.values()]

    async def close(self) -> None:
        """Close every sandbox of every pool."""
        self._closed = True
        pools = list(self._pools.values())
        await asyncio.gather(*(pool.close() for pool in pools))

    def _pool(self, key: bytes, spec: SandboxSpec) -> SandboxPool:
        pool = self._pools.get(key)
        if pool is None:
            self._first = self._first or key
            pool = SandboxPool(
                spec,
                warm=self._warm if key == self._first else 0,
                starts=self._starts,
                open=self._open,
                prepare=self._prepare_once,
            )
            self._pools[key] = pool
        return pool

    async def _prepare_once(self, spec: SandboxSpec) -> None:
        if spec.backend not in self._prepared:
            await self._prepare(spec)
            self._prepared.add(spec.backend)

    def _free(self) -> None:
        if self._places is not None:
            self._places.release()

    def _forget_if_idle(self, key: bytes, pool: SandboxPool) -> None:
        """A run with a spec for each task would otherwise keep a pool for each."""
        stats = pool.stats()
        if key != self._first and not (stats.in_use or stats.starting or stats.waiting or stats.closing):
            self._pools.pop(key, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
