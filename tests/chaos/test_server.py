"""The scripted server of a chaos run answers wrongly in every way, and then rightly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from rollway.chaos.faults import Plan
from rollway.chaos.script import Script, message_ids, question
from rollway.chaos.server import ChaosServer, read_log, wrong_history

MESSAGES = [{"role": "user", "content": question("000001")}]
BODY = {"messages": MESSAGES, "seed": 11, "model": "scripted"}
WAYS = {
    "429": 429,
    "429_retry_after": 429,
    "502": 502,
    "503": 503,
    "500_html": 500,
    "cut_body": "no JSON",
    "garbage": "no JSON",
    "empty_body": "no JSON",
    "hang_up": "no answer",
    "hang_up_in_body": "no answer",
}


@asynccontextmanager
async def served(plan: Plan, log: Path) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(ChaosServer(plan, log).app())) as client:
        yield client


async def asked(client: TestClient[Any, Any]) -> Any:
    """A whole reply, or how it failed."""
    try:
        async with client.post("/v1/chat/completions", json=BODY) as response:
            raw = await response.read()
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError):
        return "no answer"
    if response.status != 200:
        return response.status
    try:
        return json.loads(raw)
    except ValueError:
        return "no JSON"


@pytest.mark.parametrize("kind", WAYS)
async def test_a_fault_strikes_as_it_is_named_and_then_never_again(kind: str, tmp_path: Path) -> None:
    plan = Plan(rates={"replies": 1.0}, kinds={"replies": [kind]}, delay=0.0)
    async with served(plan, tmp_path / "log") as client:
        answers = [await asked(client) for _ in range(4)]
    said = Script(0).reply("000001", 11, 0)
    wrong = [answer for answer in answers if not isinstance(answer, dict)]
    assert set(wrong) == {WAYS[kind]}
    assert answers[: len(wrong)] == wrong
    assert answers[-1]["choices"][0]["message"] == said.message()
    assert answers[-1]["choices"][0]["token_ids"] == message_ids(said.message())


async def test_a_server_that_takes_a_killed_ones_place_strikes_no_more_than_it(tmp_path: Path) -> None:
    plan = Plan(rates={"replies": 1.0}, kinds={"replies": ["502"]}, delay=0.0)
    wrong = 0
    for _ in range(4):
        async with served(plan, tmp_path / "log") as client:
            wrong += not isinstance(await asked(client), dict)
    assert 1 <= wrong <= 3
    assert [line.kind for line in read_log(tmp_path / "log")] == ["502"] * wrong + ["ok"] * (4 - wrong)


async def test_a_server_admits_so_many_and_refuses_the_others(tmp_path: Path) -> None:
    async with served(Plan(admits=2, delay=0.2), tmp_path / "log") as client:
        answers = await asyncio.gather(*(asked(client) for _ in range(5)))
    assert sum(isinstance(answer, dict) for answer in answers) == 2
    assert answers.count(429) == 3


def test_a_conversation_with_a_call_that_has_no_answer_is_noticed() -> None:
    calls = Script(0).reply("000001", 11, 0).message()
    answers = [{"role": "tool", "tool_call_id": call["id"], "content": "1"} for call in calls["tool_calls"]]
    whole = [*MESSAGES, calls, *answers]
    assert wrong_history({"messages": whole}, 1) is None
    assert wrong_history({"messages": whole[:-1]}, 1)
    assert wrong_history({"messages": [*whole, answers[-1]]}, 1)
    assert wrong_history({"messages": [*whole[:2], *answers[::-1], {"role": "user", "content": "?"}]}, 1)
