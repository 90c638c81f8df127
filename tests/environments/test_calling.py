"""A user's function that hangs holds up nobody: whoever called it has an answer by its deadline."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from rollway.clock import RolloutClock
from rollway.environments.calling import Call, Hooks, hook_threads
from rollway.tools import ToolPool

SOON = 0.05


class Released:
    """Functions that hang until the test is over."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def hang(self, *args: Any) -> str:
        self.event.wait(60)
        return "late"


@pytest.fixture
def released() -> Iterator[Released]:
    made = Released()
    yield made
    made.event.set()


@pytest.fixture
def pool() -> Iterator[ToolPool]:
    with hook_threads(4) as made:
        yield made


def hooks(pool: ToolPool, timeout: float | None = 60.0) -> Hooks:
    return Hooks(pool, timeout=timeout, clock=RolloutClock("t7/3"))


async def test_sync_functions_run_off_the_event_loops_thread(pool: ToolPool) -> None:
    assert await hooks(pool).call("prompt", threading.get_ident) != threading.get_ident()


async def test_async_functions_run_on_the_event_loop(pool: ToolPool) -> None:
    async def setup(task: int) -> tuple[int, int]:
        await asyncio.sleep(0)
        return task, threading.get_ident()

    assert await hooks(pool).call("setup", setup, 3) == (3, threading.get_ident())


async def test_what_a_sync_function_gives_to_be_awaited_is_awaited(pool: ToolPool) -> None:
    async def later() -> int:
        return threading.get_ident()

    assert await hooks(pool).call("setup", lambda: later()) == threading.get_ident()


async def test_a_function_sees_the_callers_context_variables(pool: ToolPool) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    assert await hooks(pool).call("prompt", variable.get) == "set"


async def test_sync_functions_that_follow_each_other_share_one_thread(pool: ToolPool) -> None:
    calls = [Call(f"reward:{n}", threading.get_ident) for n in range(5)]
    came = await hooks(pool).call_all(calls)
    assert len({each.value for each in came}) == 1


async def test_a_hung_function_has_an_answer_and_the_others_keep_theirs(
    pool: ToolPool, released: Released, caplog: pytest.LogCaptureFixture
) -> None:
    async def other() -> int:
        return 4

    calls = [
        Call("reward:one", lambda: 1),
        Call("reward:two", released.hang),
        Call("reward:three", lambda: 3),
        Call("reward:four", other),
    ]
    one, two, three, four = await hooks(pool, SOON).call_all(calls)
    assert (one.value, three.value, four.value) == (1, 3, 4)
    assert two.timed_out
    assert isinstance(two.error, TimeoutError)
    assert str(two.error) == "reward:two did not return within 0.05 s, in rollout t7/3"
    assert "reward:two did not return within 0.05 s, in rollout t7/3" in caplog.text
    assert "self.event.wait(60)" in caplog.text  # where it stands


async def test_each_function_has_the_deadline_for_itself(pool: ToolPool) -> None:
    def slow() -> int:
        time.sleep(0.2)
        return 1

    came = await hooks(pool, 0.5).call_all([Call(f"reward:{n}", slow) for n in range(4)])
    assert [each.value for each in came] == [1] * 4


async def test_an_async_function_that_swallows_its_cancelling_is_left_behind(pool: ToolPool) -> None:
    over = asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(30):
        with pytest.raises(TimeoutError, match=r"teardown did not return within 0\.05 s"):
            await hooks(pool, SOON).call("teardown", stubborn)
    over.set()


async def test_hung_functions_do_not_use_up_the_threads(released: Released) -> None:
    with hook_threads(1) as pool:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await hooks(pool, SOON).call("done", released.hang)
        assert await hooks(pool).call("done", lambda: True)


async def test_one_slow_function_does_not_hold_up_the_others(pool: ToolPool, released: Released) -> None:
    slow = asyncio.create_task(hooks(pool).call("reward:slow", released.hang))
    async with asyncio.timeout(30):
        assert await asyncio.gather(*(hooks(pool).call("prompt", lambda: 1) for _ in range(50))) == [1] * 50
    released.event.set()
    assert await slow == "late"


async def test_the_first_failure_ends_calls_in_turn(pool: ToolPool) -> None:
    asked: list[int] = []
    calls = [Call("limits_for", lambda: 1 / 0), Call("prompt", asked.append, (1,))]
    with pytest.raises(ZeroDivisionError):
        await hooks(pool).call_in_turn(calls)
    assert asked == []


@pytest.mark.parametrize("error", [KeyError("missing"), SystemExit(3)])
async def test_what_a_function_raises_is_raised(pool: ToolPool, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await hooks(pool).call("prompt", fail)
    assert caught.value is error


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
async def test_what_would_end_the_loop_is_an_error_of_the_function(pool: ToolPool, kind: Any) -> None:
    def fail() -> None:
        raise kind

    with pytest.raises(RuntimeError, match=f"prompt raised {kind.__name__}"):
        await hooks(pool).call("prompt", fail)


async def test_a_caller_that_is_cancelled_does_not_wait_for_a_hung_function(
    pool: ToolPool, released: Released
) -> None:
    began = threading.Event()

    def hang() -> None:
        began.set()
        released.hang()

    call = asyncio.create_task(hooks(pool).call("prompt", hang))
    assert await asyncio.to_thread(began.wait, 60)
    call.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_the_clock_says_which_function_is_called(pool: ToolPool, released: Released) -> None:
    caller = hooks(pool)
    seen: list[str] = []
    await caller.call_all([Call(f"reward:{n}", lambda: seen.append(caller.clock.phase)) for n in range(2)])
    assert seen == ["reward:0", "reward:1"]
    assert caller.clock.phase == ""


async def test_a_call_leaves_nothing_for_the_garbage_collector(pool: ToolPool) -> None:
    class Large:
        pass

    large = Large()
    left = weakref.ref(large)
    gc.collect()
    gc.disable()
    try:
        await hooks(pool).call("reward:one", lambda it: 1, large)
        del large
        while left() is not None:  # the thread lets go of it a moment later
            await asyncio.sleep(0)
    finally:
        gc.enable()
