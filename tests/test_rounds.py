"""What gets ready in one moment is done a slice in each round of the loop, in order, and all of it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.rounds import FIRST_SLICE, LARGEST_SLICE, ROUND, SMALLEST_SLICE, Turnstile, fitting


def test_a_slice_shrinks_while_rounds_are_slow_and_grows_while_they_are_quick() -> None:
    assert fitting(32, ROUND * 2) == 16
    assert fitting(32, ROUND * 0.75) == 32
    assert fitting(32, 0.0) == 64
    assert fitting(SMALLEST_SLICE, 1.0) == SMALLEST_SLICE
    assert fitting(LARGEST_SLICE, 0.0) == LARGEST_SLICE


async def test_a_crowd_goes_through_in_order_and_in_slices() -> None:
    turnstile = Turnstile()
    passed: list[int] = []

    async def walk(number: int) -> None:
        await turnstile.passed()
        passed.append(number)

    tasks = [asyncio.create_task(walk(number)) for number in range(3000)]
    seen = []
    while len(passed) < len(tasks):
        await asyncio.sleep(0)
        seen.append(len(passed))
    assert passed == list(range(3000))
    slices = [after - before for before, after in itertools.pairwise([0, *seen]) if after > before]
    assert slices[0] == FIRST_SLICE
    assert max(slices) <= LARGEST_SLICE


async def test_one_alone_does_not_wait() -> None:
    turnstile = Turnstile()
    for _ in range(3):
        with pytest.raises(StopIteration):
            turnstile.passed().send(None)
        await asyncio.sleep(0)


@given(st.sets(st.integers(0, 299)))
def test_those_that_are_cancelled_keep_nobody_back(cancelled: set[int]) -> None:
    async def crowd() -> None:
        turnstile = Turnstile()
        tasks = [asyncio.create_task(turnstile.passed()) for _ in range(300)]
        await asyncio.sleep(0)
        for number in cancelled:
            tasks[number].cancel()
        async with asyncio.timeout(20):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for number, result in enumerate(ended):
            if number not in cancelled:
                assert result is None

    asyncio.run(crowd())
