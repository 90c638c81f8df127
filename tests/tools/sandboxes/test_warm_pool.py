"""The warm pool: every sandbox is new, used once and closed, whatever is cancelled or fails."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.tools.sandboxes import ExecResult, Sandbox, SandboxError, SandboxSpec
from rollway.tools.sandboxes import warm_pool as warm_pool_module
from rollway.tools.sandboxes.pools import SandboxPools
from rollway.tools.sandboxes.warm_pool import SandboxPool

Becomes = Callable[[Callable[[], bool]], Awaitable[None]]
SPEC = SandboxSpec(backend="local")


class MemorySandbox:
    """Stands for a sandbox; it counts with the others of its `Opener`."""

    def __init__(self, opener: Opener, spec: SandboxSpec) -> None:
        self.opener, self.spec = opener, spec
        self.ended = self.dead = self.mute = False
        opener.opened.append(self)
        opener.peak = max(opener.peak, opener.alive)

    @property
    def closed(self) -> bool:
        return self.ended or self.dead

    async def exec(self, command: object, *, timeout: float | None = None) -> ExecResult:
        if self.mute:
            raise SandboxError("it is gone")
        return ExecResult(exit_code=0, stdout=b"", stderr=b"")

    async def close(self) -> None:
        await asyncio.sleep(0)
        assert not self.ended, "closed twice"
        self.ended = True


class Opener:
    """Opens them: at once, when `gate` is opened, or never."""

    def __init__(self) -> None:
        self.opened: list[MemorySandbox] = []
        self.faults: list[Exception] = []  # one is raised by each of the next starts
        self.gate = asyncio.Event()
        self.gate.set()
        self.starts = 0
        self.at_a_time = self.most_at_a_time = self.peak = 0

    async def __call__(self, spec: SandboxSpec) -> Sandbox:
        self.starts += 1
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            if self.faults:
                raise self.faults.pop(0)
            sandbox: Any = MemorySandbox(self, spec)
            return sandbox
        finally:
            self.at_a_time -= 1

    @property
    def alive(self) -> int:
        return sum(not sandbox.ended for sandbox in self.opened)


async def nothing(spec: SandboxSpec) -> None:
    pass


def pool_of(opener: Opener, **options: Any) -> SandboxPool:
    return SandboxPool(SPEC, open=opener, prepare=nothing, **options)


async def test_the_ready_ones_are_made_ahead_and_refilled(becomes: Becomes) -> None:
    opener = Opener()
    async with pool_of(opener, warm=2) as pool:
        await becomes(lambda: pool.stats().ready == 2)
        opener.gate.clear()
        first, second = await pool.acquire(), await pool.acquire()  # without a start
        assert first is not second
        assert pool.stats().ready == 0
        opener.gate.set()
        await becomes(lambda: pool.stats().ready == 2)
        assert pool.stats().opened == 4
    assert opener.alive == 0


async def test_a_sandbox_is_used_once_and_closed_by_release() -> None:
    opener = Opener()
    async with pool_of(opener) as pool:
        seen = []
        for _ in range(3):
            async with pool.sandbox() as sandbox:
                assert not sandbox.closed
                seen.append(sandbox)
            assert sandbox.closed
        assert len({id(sandbox) for sandbox in seen}) == 3
        assert pool.stats().in_use == pool.stats().ready == 0


async def test_no_more_exist_than_most_and_a_waiting_call_gets_the_next_place(becomes: Becomes) -> None:
    opener = Opener()
    async with pool_of(opener, warm=1, most=2) as pool:
        held = [await pool.acquire(), await pool.acquire()]
        third = asyncio.ensure_future(pool.acquire())
        await becomes(lambda: pool.stats().waiting == 1)
        assert opener.starts == 2
        await pool.release(held[0])
        await pool.release(await third)
        await pool.release(held[1])
    assert opener.peak == 2
    assert opener.alive == 0


async def test_starts_are_bounded() -> None:
    opener = Opener()
    async with pool_of(opener, warm=10, starts=3) as pool:
        await asyncio.gather(*(pool.acquire() for _ in range(20)))
    assert opener.most_at_a_time == 3


async def test_a_failing_start_reaches_one_caller_with_its_cause_and_does_not_spin(becomes: Becomes) -> None:
    opener = Opener()
    pool = pool_of(opener, warm=3)
    opener.faults = [OSError("no memory") for _ in range(100)]
    pool.start()
    await becomes(lambda: not pool.stats().starting)
    starts = opener.starts
    assert starts <= 3  # and none again before somebody asks
    for _ in range(2):
        with pytest.raises(SandboxError, match="no memory") as caught:
            await pool.acquire()
        assert isinstance(caught.value.__cause__, OSError)
    assert opener.starts == starts + 2
    opener.faults.clear()
    await pool.release(await pool.acquire())
    await becomes(lambda: pool.stats().ready == 3)  # it has recovered
    await pool.close()
    assert opener.alive == 0


async def test_a_ready_sandbox_that_died_is_replaced(
    becomes: Becomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = Opener()
    async with pool_of(opener, warm=1) as pool:
        await becomes(lambda: pool.stats().ready == 1)
        opener.opened[0].dead = True
        assert not (await pool.acquire()).closed
        assert pool.stats().died == 1
        monkeypatch.setattr(warm_pool_module, "STALE_SECONDS", -1.0)  # each counts as waiting for long
        await becomes(lambda: pool.stats().ready == 1)
        died = opener.opened[-1]
        died.mute = True
        assert await pool.acquire() is not died
        assert pool.stats().died == 2


async def test_a_cancelled_call_leaks_nothing(becomes: Becomes) -> None:
    opener = Opener()
    pool = pool_of(opener)
    opener.gate.clear()
    starting = asyncio.ensure_future(pool.acquire())
    await becomes(lambda: opener.at_a_time == 1)
    starting.cancel()
    opener.gate.set()
    await becomes(lambda: len(opener.opened) == 1 and opener.alive == 0)  # nobody wants it, so it is closed
    handed = asyncio.ensure_future(pool.acquire())
    await becomes(lambda: pool.stats().in_use == 1)  # it was handed out, and is cancelled before it runs on
    handed.cancel()
    await asyncio.wait([handed])
    if not handed.cancelled():
        await pool.release(handed.result())
    await becomes(lambda: opener.alive == 0)
    await pool.close()


async def test_closing_ends_starts_waits_and_uses() -> None:
    opener = Opener()
    pool = pool_of(opener, warm=1, most=3)
    held = await pool.acquire()
    opener.gate.clear()
    waiting = [asyncio.ensure_future(pool.acquire()) for _ in range(4)]
    while opener.at_a_time == 0:
        await asyncio.sleep(0)
    await pool.close()
    await pool.close()
    assert opener.alive == 0
    assert opener.at_a_time == 0
    assert held.closed
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        if not isinstance(outcome, SandboxError):
            assert isinstance(outcome, MemorySandbox)  # it was ready at that moment
            assert outcome.closed
    with pytest.raises(SandboxError, match="closed"):
        await pool.acquire()


async def test_what_dead_workers_left_is_ended_once_and_before_the_first_start() -> None:
    opener, seen = Opener(), []

    async def prepare(spec: SandboxSpec) -> None:
        seen.append(opener.starts)
        await asyncio.sleep(0)

    async with SandboxPool(SPEC, warm=3, open=opener, prepare=prepare) as pool:
        await asyncio.gather(*(pool.acquire() for _ in range(5)))
    assert seen == [0]


async def test_a_wait_is_counted(becomes: Becomes) -> None:
    opener = Opener()
    async with pool_of(opener) as pool:
        opener.gate.clear()
        waiting = asyncio.ensure_future(pool.acquire())
        await becomes(lambda: opener.at_a_time == 1)
        await asyncio.sleep(0.02)
        opener.gate.set()
        await waiting
        assert pool.stats().wait_max >= 0.02
        assert pool.stats().in_use == 1


@pytest.mark.parametrize("options", [{"warm": -1}, {"warm": 3, "most": 2}, {"most": 0}, {"starts": 0}])
def test_numbers_that_cannot_be_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="invalid sandbox pool"):
        SandboxPool(SPEC, **options)  # type: ignore[arg-type]


STEPS = st.lists(
    st.sampled_from(["acquire", "cancel", "release", "fail", "die", "stop", "go", "rest"]), max_size=40
)


@settings(max_examples=150)
@given(steps=STEPS, warm=st.integers(0, 3), spare=st.none() | st.integers(1, 3), starts=st.integers(1, 3))
def test_whatever_happens_none_is_handed_out_twice_none_is_leaked_and_most_holds(
    steps: list[str], warm: int, spare: int | None, starts: int
) -> None:
    async def play() -> None:
        opener = Opener()
        most = None if spare is None else warm + spare
        pool = pool_of(opener, warm=warm, most=most, starts=starts)
        calls: list[asyncio.Task[Sandbox]] = []
        used: list[Sandbox] = []
        held: list[Sandbox] = []
        for step in steps:
            for call in [call for call in calls if call.done()]:
                calls.remove(call)
                if not call.cancelled() and call.exception() is None:
                    assert not any(call.result() is other for other in used)
                    used.append(call.result())
                    held.append(call.result())
            match step:
                case "acquire":
                    calls.append(asyncio.ensure_future(pool.acquire()))
                case "cancel" if calls:
                    calls[0].cancel()
                case "release" if held:
                    await pool.release(held.pop())
                case "fail":
                    opener.faults.append(OSError("no"))
                case "die" if pool._ready:
                    pool._ready[0][0].dead = True  # type: ignore[attr-defined]
                case "stop":
                    opener.gate.clear()
                case "go":
                    opener.gate.set()
                case _:
                    for _ in range(5):
                        await asyncio.sleep(0)
            if most is not None:
                assert opener.alive + opener.at_a_time <= most
        await pool.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(
            isinstance(outcome, (MemorySandbox, SandboxError, asyncio.CancelledError)) for outcome in outcomes
        )
        assert opener.alive == opener.at_a_time == 0
        stats = pool.stats()
        assert stats.close_failed == 0
        assert (stats.ready, stats.starting, stats.in_use, stats.closing, stats.waiting) == (0, 0, 0, 0, 0)

    asyncio.run(play())


async def test_pools_keep_only_the_first_kind_ready(becomes: Becomes) -> None:
    opener = Opener()
    other = SandboxSpec(backend="local", environment={"KIND": "other"})
    async with SandboxPools(warm=2, open=opener, prepare=nothing) as pools:
        async with pools.sandbox(SPEC) as first, pools.sandbox(other) as second:
            assert (first.spec, second.spec) == (SPEC, other)  # type: ignore[attr-defined]
            await becomes(lambda: opener.alive == 4)
        assert [spec for spec, _ in pools.stats()] == [SPEC]  # the idle pool of the other is forgotten
    assert opener.alive == 0
    with pytest.raises(SandboxError, match="closed"):
        await pools.acquire(SPEC)


async def test_pools_hand_out_no_more_than_most_of_all_kinds(becomes: Becomes) -> None:
    opener = Opener()
    specs = [SandboxSpec(backend="local", environment={"KIND": str(i)}) for i in range(6)]
    in_use = peak = 0

    async def use(spec: SandboxSpec) -> None:
        nonlocal in_use, peak
        async with pools.sandbox(spec):
            in_use += 1
            peak = max(peak, in_use)
            await asyncio.sleep(0)
            in_use -= 1

    async with SandboxPools(most=2, open=opener, prepare=nothing) as pools:
        opener.faults = [OSError("no")]
        outcomes = await asyncio.gather(*(use(spec) for spec in specs), return_exceptions=True)
        assert sum(isinstance(outcome, SandboxError) for outcome in outcomes) == 1
        await asyncio.gather(*(use(spec) for spec in specs))  # a failed start has given its place back
    assert peak == 2


async def test_real_sandboxes_are_ready_ahead_and_leave_nothing(becomes: Becomes) -> None:
    async with SandboxPool(SPEC, warm=2) as pool:
        await becomes(lambda: pool.stats().ready == 2)
        async with pool.sandbox() as sandbox:
            assert (await sandbox.exec("pwd")).stdout.decode().strip() == sandbox.workspace
        assert sandbox.closed
        await becomes(lambda: pool.stats().ready == 2)
        left = await pool.acquire()
    assert pool.stats().opened >= 3
    assert not os.path.exists(left.workspace)  # noqa: ASYNC240 - nothing runs any more
