"""What is found out about the model's server before the first rollout."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_server import ScriptedServer, Step, error

from rollway.errors import UserError
from rollway.evaluation.clients import check_server
from rollway.evaluation.config import EvalConfig, validate


def config(url: str, max_tokens: int, **model: Any) -> EvalConfig:
    values = {"base_url": url, "name": "m", **model}
    return validate(
        {"environment": "calculator", "model": values, "sampling": {"max_tokens": max_tokens}}, "test"
    )


@pytest.mark.parametrize("backend", ["chat", "openai", "token"])
async def test_a_max_tokens_that_no_prompt_leaves_room_for_is_refused_at_the_start(backend: str) -> None:
    from rollway.embedded.policy import find_policy

    model: dict[str, Any] = {"backend": backend}
    if backend == "token":
        model |= {"folder": str(find_policy("calculator")), "endpoint": "generate"}
    models = Step({"object": "list", "data": [{"id": "m", "max_model_len": 4096}]})
    async with ScriptedServer(models=models) as server:
        url = f"{server.url}/v1"
        with pytest.raises(UserError, match=r"sampling\.max_tokens is 4096, but the context .* holds 4096"):
            await check_server(config(url, 4096, **model), "key")
        assert (await check_server(config(url, 4095, **model), "key")).name == "m"


async def test_a_server_that_does_not_list_its_context_is_taken_at_its_word() -> None:
    async with ScriptedServer(models=["m"]) as server:
        assert (await check_server(config(server.url, 10**6), None)).name == "m"


# A server that is not there yet


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that refuses connections and is given to nobody else. A server may still listen on it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_nobody_at_the_address_ends_it_at_once_and_names_the_way_to_wait(free_port: int) -> None:
    lines: list[str] = []
    asked = config(f"http://127.0.0.1:{free_port}", 1)
    with pytest.raises(UserError, match=r"connection refused.*; add --wait"):
        await check_server(asked, None, tell=lines.append, hint="; add --wait")
    assert lines == []


@pytest.mark.parametrize("backend", ["chat", "openai"])
async def test_a_server_that_is_still_starting_is_waited_for(free_port: int, backend: str) -> None:
    lines: list[str] = []
    told = asyncio.Event()

    def tell(line: str) -> None:
        lines.append(line)
        told.set()

    asked = config(f"http://127.0.0.1:{free_port}/v1", 1, wait_for_server=60, backend=backend)
    checking = asyncio.create_task(check_server(asked, "key", tell=tell))
    await asyncio.wait_for(told.wait(), 30)
    async with ScriptedServer(models=["m"], port=free_port):
        assert (await checking).name == "m"
    waiting, there = lines
    assert waiting.startswith(f"waiting for http://127.0.0.1:{free_port}")
    assert "is there after" in there


async def test_a_server_that_loads_is_waited_for() -> None:
    lines: list[str] = []
    async with ScriptedServer(models=error(503, "Loading model")) as server:

        def tell(line: str) -> None:
            lines.append(line)
            server.models = ["m"]

        assert (await check_server(config(server.url, 1, wait_for_server=60), None, tell=tell)).name == "m"
    assert "503: Loading model" in lines[0]


async def test_the_waiting_ends_when_its_time_is_over(free_port: int) -> None:
    asked = config(f"http://127.0.0.1:{free_port}", 1, wait_for_server=0.1)
    with pytest.raises(UserError, match=r"connection refused.*\(waited"):
        await check_server(asked, None, hint="; add --wait")


async def test_a_model_that_is_not_served_is_not_waited_for() -> None:
    async with ScriptedServer(models=["other"]) as server:
        with pytest.raises(UserError, match="does not serve model 'm'"):
            await check_server(config(server.url, 1, wait_for_server=60), None)
        assert len(server.gets) == 1


@pytest.mark.parametrize("status", [429, 502, 503])
async def test_a_server_that_is_busy_for_a_moment_does_not_end_the_run(status: int) -> None:
    async with ScriptedServer(models=error(status, "busy")) as server:
        checking = asyncio.create_task(check_server(config(server.url, 1), None))
        async with asyncio.timeout(30):
            while not server.gets:
                await asyncio.sleep(0.01)
        server.models = ["m"]
        assert (await checking).name == "m"
