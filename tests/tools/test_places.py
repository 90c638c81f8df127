"""Places are handed out in order, never more than there are, and none is ever lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rollway.tools.places import Places
from rollway.tools.pool_records import PoolClosed


async def test_places_go_to_those_who_asked_first() -> None:
    places = Places(1)
    order: list[int] = []

    async def use(number: int) -> None:
        await places.take()
        order.append(number)
        await asyncio.sleep(0)
        places.give_back()

    await asyncio.gather(*(use(number) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]
    assert (places.taken, places.waiting) == (0, 0)


async def test_whoever_is_cancelled_while_being_handed_a_place_gives_it_back() -> None:
    places = Places(1)
    await places.take()
    waiting = [asyncio.create_task(places.take()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()  # in the queue
    await asyncio.sleep(0)
    places.give_back()  # to the first, which has not been told yet
    waiting[0].cancel()
    await waiting[2]
    assert [task.cancelled() for task in waiting] == [True, True, False]
    assert (places.taken, places.waiting) == (1, 0)


async def test_closing_refuses_whoever_waits_and_whoever_comes() -> None:
    places = Places(1)
    await places.take()
    waiting = asyncio.create_task(places.take())
    await asyncio.sleep(0)
    places.close(PoolClosed("closed"))
    for asked in (waiting, places.take()):
        with pytest.raises(PoolClosed):
            await asked
    assert not places.join(0)
    places.give_back()
    assert places.join(0)


async def test_growing_lets_those_in_who_wait() -> None:
    places = Places(1)
    await places.take()
    waiting = [asyncio.create_task(places.take()) for _ in range(2)]
    await asyncio.sleep(0)
    places.resize(3)
    await asyncio.gather(*waiting)
    assert places.taken == 3


async def test_a_place_offered_to_a_loop_that_is_gone_goes_to_the_next() -> None:
    places = Places(1)
    await places.take()
    loop = asyncio.new_event_loop()

    def ask_and_leave() -> None:
        asking = loop.create_task(places.take())
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        asking._log_destroy_pending = False  # type: ignore[attr-defined]

    thread = threading.Thread(target=ask_and_leave)
    thread.start()
    thread.join()
    waiting = asyncio.create_task(places.take())
    await asyncio.sleep(0)
    places.give_back()
    await asyncio.wait_for(waiting, 10)
    assert places.taken == 1
