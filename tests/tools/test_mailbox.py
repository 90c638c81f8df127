"""Nothing posted to a mailbox is lost or read twice; a burst wakes the loop once and is read in slices."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

from rollway.rounds import FIRST_SLICE, LARGEST_SLICE
from rollway.tools.mailbox import Mailbox


async def test_everything_posted_from_many_threads_is_read_once_and_in_order() -> None:
    read: list[tuple[int, int]] = []
    loop = asyncio.get_running_loop()
    mailbox: Mailbox[tuple[int, int]] = Mailbox(read.append)

    def post(sender: int) -> None:
        for number in range(2000):
            assert mailbox.post((sender, number), loop)

    threads = [threading.Thread(target=post, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(60):
        while len(read) < 8000:
            await asyncio.sleep(0)
    for sender in range(4):
        assert [number for who, number in read if who == sender] == list(range(2000))


async def test_a_burst_wakes_the_loop_once() -> None:
    read: list[int] = []
    wakes: list[Any] = []
    mailbox: Mailbox[int] = Mailbox(read.append)

    class Loop:
        def call_soon_threadsafe(self, callback: Any) -> None:
            wakes.append(callback)

    loop: Any = Loop()
    for number in range(1000):
        mailbox.post(number, loop)
    assert (len(wakes), read) == (1, [])
    wakes[0]()
    while len(read) < 1000:
        await asyncio.sleep(0)
    assert read == list(range(1000))
    assert len(wakes) == 1
    mailbox.post(1000, loop)
    assert len(wakes) == 2


async def test_a_burst_is_read_in_slices_with_a_round_of_the_loop_for_all_others_in_between() -> None:
    read: list[int] = []
    seen: list[int] = []
    mailbox: Mailbox[int] = Mailbox(read.append)
    for number in range(1000):
        mailbox.post(number, asyncio.get_running_loop())
    while len(read) < 1000:
        await asyncio.sleep(0)
        seen.append(len(read))
    slices = [after - before for before, after in itertools.pairwise([0, *seen]) if after > before]
    assert slices[0] == FIRST_SLICE
    assert max(slices) <= LARGEST_SLICE
    assert read == list(range(1000))


def test_posting_to_a_closed_loop_is_refused_and_leaves_nothing_behind() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    mailbox: Mailbox[int] = Mailbox(lambda item: None)
    assert mailbox.post(1, loop) is False
    assert mailbox.post(2, loop) is False


async def test_a_reader_that_raises_loses_none_of_the_rest() -> None:
    read: list[int] = []

    def reader(item: int) -> None:
        if item == 1:
            raise ValueError("one")
        read.append(item)

    loop = asyncio.get_running_loop()
    faults: list[Any] = []
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    mailbox = Mailbox(reader)
    for number in range(4):
        mailbox.post(number, loop)
    async with asyncio.timeout(60):
        while len(read) < 3:
            await asyncio.sleep(0)
    assert read == [0, 2, 3]
    assert [str(fault) for fault in faults] == ["one"]
