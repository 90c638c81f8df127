"""Whether the Ray of a run is there is seen at its port, which nobody else gets."""

from __future__ import annotations

import asyncio

import pytest

from rollway.evaluation.ray_presence import REFUSED, Part, PresenceTimes, look, until_gone

QUICK = PresenceTimes(between=0.01, node=0.05, head=0.05, answer=10.0)


async def listening(seconds: float = 0.05) -> tuple[asyncio.Server, Part, asyncio.Semaphore]:
    """A node, and how often it was looked for."""
    looks = asyncio.Semaphore(0)

    def looked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        looks.release()
        writer.close()

    server = await asyncio.start_server(looked, "127.0.0.1")
    return server, Part("node", *server.sockets[0].getsockname(), refused=seconds), looks


async def test_a_node_that_ends_is_gone() -> None:
    server, node, looks = await listening()
    waiting = asyncio.create_task(until_gone([node], QUICK))
    async with asyncio.timeout(60):
        for _ in range(10):
            await looks.acquire()
        assert not waiting.done()
        server.close()
        told = await waiting
    assert told == f"Ray is gone: nobody listens at 127.0.0.1:{node.port}, where its node was"


async def test_a_node_that_was_never_to_be_seen_from_here_is_not_gone() -> None:
    server, node, _ = await listening()
    server.close()
    await server.wait_closed()
    assert await look(node, QUICK) == REFUSED
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(until_gone([node], QUICK), 0.2)


async def test_a_node_that_comes_back_in_time_is_not_gone() -> None:
    server, node, looks = await listening(seconds=3600.0)
    waiting = asyncio.create_task(until_gone([node], QUICK))
    async with asyncio.timeout(60):
        await looks.acquire()
        await looks.acquire()
        server.close()
        while await look(node, QUICK) != REFUSED:
            await asyncio.sleep(0.01)
        back = asyncio.Event()
        again = await asyncio.start_server(lambda r, w: (back.set(), w.close())[0], node.host, node.port)
        await back.wait()
    assert not waiting.done()
    waiting.cancel()
    again.close()


async def test_the_first_part_that_is_gone_is_told() -> None:
    (head, there, _), (server, node, looks) = await listening(), await listening()
    waiting = asyncio.create_task(until_gone([there, node], QUICK))
    async with asyncio.timeout(60):
        await looks.acquire()
        await looks.acquire()
        server.close()
        assert f":{node.port}, " in await waiting
    head.close()
