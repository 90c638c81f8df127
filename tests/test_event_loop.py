"""The run's event loop does all that asyncio's does, and a crowd of ready sockets does not hold it up."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from rollway.event_loop import SlicingSelector, new_event_loop
from rollway.rounds import FIRST_SLICE, LARGEST_SLICE

needs_epoll = pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="the system has no epoll")


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    with ExitStack() as held:
        made = [socket.socketpair() for _ in range(2 * LARGEST_SLICE)]
        for pair in made:
            for end in pair:
                held.enter_context(closing(end))
        yield made


@needs_epoll
def test_a_look_reports_a_slice_and_the_next_ones_report_all_others(
    pairs: list[tuple[socket.socket, socket.socket]],
) -> None:
    with SlicingSelector() as selector:
        for number, (here, there) in enumerate(pairs):
            selector.register(here, selectors.EVENT_READ, number)
            there.send(b"x")
        first = selector.select(0)
        assert len(first) == FIRST_SLICE
        seen = Counter(key.data for key, _ in first)
        while len(seen) < len(pairs):  # nothing is read, so all stay ready
            found = selector.select(0)
            assert 0 < len(found) <= LARGEST_SLICE
            seen.update(key.data for key, _ in found)
            assert max(seen.values()) - min(seen.values()) <= 1


@needs_epoll
def test_files_come_and_go_and_change_as_in_the_library() -> None:
    here, there = socket.socketpair()
    with closing(here), closing(there), SlicingSelector() as selector:
        selector.register(here, selectors.EVENT_READ, "reads")
        assert selector.select(0) == []
        selector.modify(here, selectors.EVENT_READ | selectors.EVENT_WRITE, "both")
        (key, events), *_ = selector.select(0)
        assert (key.data, events) == ("both", selectors.EVENT_WRITE)
        there.send(b"x")
        assert selector.select()[0][1] == selectors.EVENT_READ | selectors.EVENT_WRITE
        assert selector.get_key(here).data == "both"
        with pytest.raises(KeyError):
            selector.register(here, selectors.EVENT_READ)
        selector.unregister(here)
        assert selector.select(0) == []
        assert not selector.get_map()


@needs_epoll
def test_whoever_reads_hears_that_the_other_side_is_gone() -> None:
    here, there = socket.socketpair()
    with closing(here), SlicingSelector() as selector:
        selector.register(here, selectors.EVENT_READ)
        there.close()
        ((_, events),) = selector.select()
        assert events == selectors.EVENT_READ


@needs_epoll
def test_a_timer_is_looked_at_while_thousands_of_sockets_are_ready(
    pairs: list[tuple[socket.socket, socket.socket]],
) -> None:
    async def crowd() -> int:
        loop = asyncio.get_running_loop()
        read = 0

        def take(end: socket.socket) -> None:
            nonlocal read
            read += len(end.recv(1))

        for here, there in pairs:
            loop.add_reader(here, take, here)
            there.send(b"x")
        await asyncio.sleep(0)  # the loop has looked at the sockets once
        await asyncio.sleep(0)
        early = read
        async with asyncio.timeout(20):
            while read < len(pairs):
                await asyncio.sleep(0)
        return early

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(crowd()) < len(pairs) / 2
    with asyncio.Runner() as runner:
        assert runner.run(crowd()) == len(pairs)  # else there is nothing to mend


def test_it_runs_servers_timers_threads_and_programs() -> None:
    async def work() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(100_000))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"a")
            echoed = await reader.read()
            writer.close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        threaded = await asyncio.to_thread(lambda: b"b")
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print('c', end='')", stdout=asyncio.subprocess.PIPE
        )
        told, _ = await program.communicate()
        return echoed + threaded + told

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(work()) == b"abc"


def test_a_hung_thread_does_not_keep_the_loop_from_ending() -> None:
    released = threading.Event()

    async def main() -> None:
        hung = asyncio.create_task(asyncio.to_thread(released.wait, 60))
        await asyncio.sleep(0.01)
        hung.cancel()

    began = time.monotonic()
    with asyncio.Runner(loop_factory=lambda: new_event_loop(end_seconds=0.1)) as runner:
        runner.run(main())
    assert time.monotonic() - began < 30
    released.set()


def test_a_loop_that_ends_waits_for_threads_that_do() -> None:
    done: list[int] = []

    def work() -> None:
        time.sleep(0.1)
        done.append(1)

    async def main() -> None:
        task = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0.01)
        task.cancel()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
    assert done == [1]
