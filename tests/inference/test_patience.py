"""What a client does while its server is away, overloaded, stands still or breaks off: it waits, and loses
nothing."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, Step, error, hang, hang_up, reply

from rollway.clock import RolloutClock, WaitKind
from rollway.inference import (
    ChatClient,
    Completion,
    CompletionRequest,
    NoReplyInTime,
    OpenAIClient,
    RetryPolicy,
    ServerOverloaded,
    ServerUnreachable,
    Timeouts,
)
from rollway.inference.gate import GateTimes

QUICK = GateTimes(quiet=0.1, doubt=0.05, answer=0.1, first_pause=0.05, longest_pause=0.05, tell=0.0)
FAST = RetryPolicy(first_delay=0.002)


def ask(clock: RolloutClock | None = None, **changes: Any) -> CompletionRequest:
    return CompletionRequest(messages=[{"role": "user", "content": "3 + 4?"}], clock=clock, **changes)


def client(server: ScriptedServer | str, **options: Any) -> ChatClient:
    url = server if isinstance(server, str) else server.url
    return ChatClient(url, "scripted", **{"retry": FAST, "gate": QUICK, **options})


async def many(c: ChatClient, count: int) -> list[Completion]:
    return await asyncio.gather(*(c.generate(ask()) for _ in range(count)))


async def test_a_server_that_goes_away_in_the_middle_and_comes_back_costs_no_call(refusing_port: int) -> None:
    release = asyncio.Event()

    async def held(request: ScriptedRequest) -> Any:
        await release.wait()
        return reply("7")

    async with client(f"http://127.0.0.1:{refusing_port}") as c:
        async with ScriptedServer(held, port=refusing_port) as server:
            calls = asyncio.create_task(many(c, 40))
            await server.until(lambda s: s.running == 40)
        async with asyncio.timeout(30):
            while c.report().state != "away" or c.report().waiting < 40:
                await asyncio.sleep(0.01)
        release.set()
        async with ScriptedServer(held, port=refusing_port) as server:
            completions = await calls
            assert len(server.requests) == 40
    assert {completion.content for completion in completions} == {"7"}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_admits_four_at_once_gets_four_and_loses_none(status: int) -> None:
    running = refused = 0

    async def step(request: ScriptedRequest) -> Any:
        nonlocal running, refused
        if running >= 4:
            refused += 1
            return error(status, "The engine is currently busy")
        running += 1
        try:
            await asyncio.sleep(0.01)
        finally:
            running -= 1
        return reply("7")

    async with ScriptedServer(step) as server, client(server, retry=RetryPolicy()) as c:
        completions = await many(c, 64)
    assert {completion.content for completion in completions} == {"7"}
    assert refused < 150


@pytest.mark.parametrize(
    ("fault", "share"),
    [
        (error(429, "slow down"), 1 / 3),
        (error(502, "bad gateway"), 1 / 2),
        (error(504, "upstream timed out"), 1 / 2),
        (hang_up(), 1 / 4),
        (hang_up(headers_first=True), 1 / 10),
        (Step(json.dumps(reply("never whole", prompt_token_ids=[1])).encode()[:200]), 1 / 4),
        (Step(b""), 1 / 4),
    ],
    ids=["429", "502", "504", "reset", "cut", "cut JSON", "empty"],
)
async def test_what_fails_now_and_then_loses_nothing(fault: Step, share: float) -> None:
    draw = random.Random(1)
    async with ScriptedServer(lambda _: fault if draw.random() < share else reply("7")) as server:
        async with client(server, retry=RetryPolicy(tries=5, first_delay=0.001)) as c:
            completions = await many(c, 200)
    assert {completion.content for completion in completions} == {"7"}


async def test_a_try_that_ran_out_of_time_is_made_again() -> None:
    async with ScriptedServer([hang(), reply("7")]) as server:
        clock = RolloutClock()
        async with client(server, timeouts=Timeouts(total=0.3)) as c:
            completion = await c.generate(ask(clock))
    assert completion.content == "7"
    assert clock.seconds()["retry"] >= 0.3
    assert clock.working() < clock.age() - 0.3


async def test_a_server_that_loads_is_waited_for() -> None:
    loading = error(500, "the model is still loading")
    async with ScriptedServer([loading] * 8 + [reply("7")]) as server, client(server) as c:
        assert (await c.generate(ask())).content == "7"


async def test_a_server_that_stands_still_is_a_wait_of_the_calls_that_it_has() -> None:
    goes_on = asyncio.Event()
    async with ScriptedServer([Step(reply("7"), when=goes_on)]) as server:
        clock = RolloutClock()
        server.models = Step({}, when=goes_on)
        async with client(server) as c:
            call = asyncio.create_task(c.generate(ask(clock)))
            async with asyncio.timeout(30):
                while c.report().state != "stalled":
                    await asyncio.sleep(0.01)
            assert clock.waits_now == {WaitKind.STALL}
            assert clock.working() < 0.1
            goes_on.set()
            assert (await call).content == "7"
            assert c.report().state == "up"
    assert clock.seconds()["stall"] >= QUICK.quiet + QUICK.answer
    assert call.result().attempts == []


async def test_a_model_that_takes_its_time_is_no_stall() -> None:
    done = asyncio.Event()
    async with ScriptedServer([Step(reply("7"), when=done)]) as server:
        clock = RolloutClock()
        async with client(server) as c:
            call = asyncio.create_task(c.generate(ask(clock)))
            async with asyncio.timeout(30):
                while len(server.gets) < 3:  # it was asked, and answered
                    await asyncio.sleep(0.01)
            assert c.report().state == "up"
            done.set()
            await call
    assert clock.seconds() == {}


async def test_a_deadline_in_a_stall_says_that_the_server_stands_still() -> None:
    async with ScriptedServer([hang()], models=hang()) as server, client(server) as c:
        with pytest.raises(NoReplyInTime, match="stands still") as raised:
            await c.generate(ask(deadline=time.monotonic() + 1.0))
    assert raised.value.in_reply
    assert raised.value.waiting_for is WaitKind.STALL


async def test_nobody_at_the_address_is_given_up_when_patience_is_used_up(refusing_port: int) -> None:
    patience = RetryPolicy(patience=0.3)
    url = f"http://127.0.0.1:{refusing_port}"
    clock = RolloutClock()
    async with client(url, retry=patience) as c:
        with pytest.raises(ServerUnreachable, match=r"connection refused.*retry\.patience"):
            await c.generate(ask(clock))
        assert clock.seconds()["server_away"] >= 0.2
    async with OpenAIClient("m", "k", f"{url}/v1", retry=patience, gate=QUICK) as hosted:
        with pytest.raises(ServerUnreachable, match=r"retry\.patience"):
            await hosted.generate(ask())


async def test_a_server_that_sends_every_call_away_is_given_up_when_patience_is_used_up() -> None:
    async with ScriptedServer(lambda _: error(503, "loading weights")) as server:
        async with client(server, retry=RetryPolicy(patience=0.5, first_delay=0.01)) as c:
            calls = [asyncio.create_task(c.generate(ask())) for _ in range(20)]
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(each) for each in done} == {ServerOverloaded}
            assert "loading weights" in str(done[0])
            assert len(server.requests) < 60


async def test_a_provider_that_comes_back_costs_no_call(refusing_port: int) -> None:
    url = f"http://127.0.0.1:{refusing_port}/v1"
    async with OpenAIClient("m", "k", url, retry=FAST, gate=QUICK) as c:
        call = asyncio.create_task(c.generate(ask()))
        async with asyncio.timeout(30):
            while c.report().state != "away":
                await asyncio.sleep(0.01)
        async with ScriptedServer(lambda _: reply("7"), port=refusing_port):
            assert (await call).content == "7"


async def test_requests_beyond_the_connections_wait_for_a_connection() -> None:
    clocks = [RolloutClock() for _ in range(6)]

    async def slow(request: ScriptedRequest) -> Any:
        await asyncio.sleep(0.02)
        return reply("7")

    async with ScriptedServer(slow) as server, client(server, max_connections=2) as c:
        await asyncio.gather(*(c.generate(ask(clock)) for clock in clocks))
    assert server.peak <= 2
    assert [bool(clock.seconds().get("connection")) for clock in clocks] == [False] * 2 + [True] * 4


async def test_a_reply_keeps_its_servers_id() -> None:
    async with ScriptedServer([reply("7"), {**reply("7"), "id": 5}, reply("7", id=None)]) as server:
        async with client(server) as c:
            assert [(await c.generate(ask())).reply_id for _ in range(3)] == ["chatcmpl-scripted", "5", ""]
