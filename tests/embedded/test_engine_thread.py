"""Computing never holds up the loop, and an engine that breaks is told to everyone who waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from rollway.embedded.engine import Engine
from rollway.embedded.engine_thread import EngineDied, EngineThread
from rollway.embedded.policy import Policy
from rollway.embedded.sampling import SamplingParams
from rollway.embedded.sequences import GenerationRequest
from rollway.embedded.server.app import ServerOptions, running_server

MakeEngine = Callable[..., Engine]


def request(*, max_tokens: int = 5, n: int = 1) -> GenerationRequest:
    params = SamplingParams(max_tokens=max_tokens, seed=1, n=n, ignore_eos=True)
    return GenerationRequest("id", [1, 2, 3], params)


@pytest.fixture
async def thread(make_engine: MakeEngine) -> AsyncIterator[EngineThread]:
    thread = EngineThread(make_engine(max_concurrency=4), asyncio.get_running_loop())
    thread.start()
    yield thread
    if thread.death is None:
        thread.stop()


async def test_outputs_come_in_the_order_of_prompts_and_samples(thread: EngineThread) -> None:
    requests = [request(max_tokens=9, n=2), request(max_tokens=3)]
    generation = thread.submit(requests)
    outputs = await generation.finished()
    assert [(o.request, o.index) for o in outputs] == [(requests[0], 0), (requests[0], 1), (requests[1], 0)]
    assert thread.pending == 1
    thread.close(generation)
    assert thread.pending == 0


async def test_closing_before_the_end_frees_the_engine(
    thread: EngineThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, closed = threading.Event(), threading.Event()

    def step(self: Engine) -> Any:
        outputs = whole_step(self)
        running.set()
        closed.wait(60)  # else it might come to its end before it is closed
        return outputs

    whole_step = Engine.step
    monkeypatch.setattr(Engine, "step", step)
    generation = thread.submit([request(max_tokens=400, n=3)])
    assert await asyncio.to_thread(running.wait, 60)
    thread.close(generation)
    closed.set()
    async with asyncio.timeout(60):
        while thread.engine.running or thread.engine.waiting:
            await asyncio.sleep(0.001)
    assert thread.engine.counters.finished == {"abort": 3}


async def test_the_loop_runs_on_while_the_engine_computes(thread: EngineThread) -> None:
    generation = thread.submit([request(max_tokens=400)])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await generation.finished()
    counting.cancel()
    thread.close(generation)
    assert turns > 400


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_engine_that_breaks_fails_all_requests_and_takes_no_more(
    thread: EngineThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Engine) -> Any:
        raise ZeroDivisionError("no such luck")

    monkeypatch.setattr(Engine, "step", broken)
    generation = thread.submit([request()])
    with pytest.raises(EngineDied, match="ZeroDivisionError: no such luck"):
        await generation.next()
    with pytest.raises(EngineDied):
        thread.submit([request()])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_server_whose_engine_broke_says_so(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Engine) -> Any:
        raise ZeroDivisionError("no such luck")

    body = {"messages": [{"role": "user", "content": "x"}]}
    async with running_server(policy, ServerOptions(max_concurrency=2)) as url:
        async with aiohttp.ClientSession() as session:
            async with session.get(url + "/health") as reply:
                assert reply.status == 200
            monkeypatch.setattr(Engine, "step", broken)
            async with session.post(url + "/v1/chat/completions", json=body) as reply:
                assert reply.status == 500
                error = (await reply.json())["error"]
                assert "ZeroDivisionError: no such luck" in error["message"]
                assert error["type"] == "InternalServerError"
            async with session.post(url + "/v1/chat/completions", json=body | {"stream": True}) as reply:
                assert "ZeroDivisionError" in await reply.text()
            async with session.get(url + "/health") as reply:
                assert reply.status == 503
