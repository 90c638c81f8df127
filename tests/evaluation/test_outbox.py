"""What has ended leaves in bounded batches, in order, and waits no longer than it must."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.evaluation import outbox
from rollway.evaluation.outbox import FETCH_BYTES, Ended, Outbox
from rollway.evaluation.outcomes import Outcome
from rollway.trajectory import StopReason


def ended(number: int, size: int = 2) -> Ended:
    return Ended(number, Outcome(b"x" * size, StopReason.COMPLETED, False, 1.0, 1))


async def soon(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, 60)


@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=12))
@settings(max_examples=100)
def test_a_fetch_is_bounded_and_a_long_line_travels_alone(sizes: list[int]) -> None:
    async def main() -> list[list[Ended]]:
        box, batches = Outbox(), []
        for number, size in enumerate(sizes):
            box.begin()
            box.put(ended(number, size))
        while sum(map(len, batches)) < len(sizes):
            batches.append(await soon(box.fetch()))
        return batches

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "FETCH_BYTES", 100)
        batches = asyncio.run(main())
    assert [one.number for batch in batches for one in batch] == list(range(len(sizes)))
    assert all(len(batch) == 1 or sum(one.size for one in batch) <= 100 for batch in batches)


async def test_a_full_batch_does_not_wait_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FETCH_SECONDS", 3600.0)
    box = Outbox()
    for _ in range(4):
        box.begin()
    box.put(ended(0))
    assert len(await soon(box.fetch())) == 1  # after a quiet time: at once
    box.put(ended(1))
    early = asyncio.create_task(box.fetch())
    await asyncio.sleep(0.01)
    assert not early.done()
    box.put(ended(2, FETCH_BYTES))
    assert [one.number for one in await soon(early)] == [1]
    assert [one.number for one in await soon(box.fetch())] == [2]
