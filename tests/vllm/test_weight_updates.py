"""Weights that change in the middle of a reply, on the real vLLM: the record names them as it does."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from scripted_server import ScriptedRequest, ScriptedServer, Step

from rollway.agent_loop import AgentLoop
from rollway.embedded.policy import find_policy
from rollway.inference import Sampling, TokenClient
from rollway.inference.weight_updates import join_spans
from rollway.trajectory import StopReason, Trajectory, VersionSpan

pytestmark = pytest.mark.vllm

TOKENS = 1500  # of a reply, which take seconds: two updates must come before its end
LONG = Sampling(temperature=1.0, max_tokens=TOKENS, seed=5, extra={"ignore_eos": True})


class Watched:
    """The server behind a proxy that keeps what it answers."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.replies: list[Any] = []
        self._session = session

    async def pass_on(self, request: ScriptedRequest) -> Step:
        async with self._session.post(self.url + request.path, json=request.body) as reply:
            body = await reply.read()
        if reply.status == 200:
            self.replies.append(msgspec.json.decode(body))
        return Step(body, reply.status)

    async def command(self, path: str, **body: Any) -> None:
        async with self._session.post(self.url + path, json=body) as reply:
            assert reply.status == 200, await reply.text()

    async def sampled(self) -> float:
        return await asyncio.to_thread(metric, self.url, "vllm:generation_tokens_total")

    async def samples_more(self, deadline: float = 60.0) -> None:
        """Wait until it has sampled some more tokens."""
        before = await self.sampled()
        async with asyncio.timeout(deadline):
            while await self.sampled() < before + 5:
                await asyncio.sleep(0.02)


def metric(url: str, name: str) -> float:
    text = urllib.request.urlopen(f"{url}/metrics", timeout=60).read().decode()
    lines = [line for line in text.split("\n") if line.startswith((name + "{", name + " "))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[tuple[Watched, TokenClient]]:
    async with aiohttp.ClientSession() as session:
        server = Watched(url, session)
        async with ScriptedServer(server.pass_on) as proxy:
            folder = find_policy("calculator")
            async with TokenClient(proxy.url, "calculator", folder, endpoint="generate") as client:
                yield server, client


async def rolled_out_over_updates(
    url: str, modes: list[str], versions: list[str]
) -> tuple[Trajectory, list[Any]]:
    async with watched(url) as (server, client):
        running = asyncio.create_task(
            AgentLoop(client, sampling=LONG).run([{"role": "user", "content": "Count."}])
        )
        for mode, version in zip(modes, versions, strict=True):
            await server.samples_more()
            async with client.weight_update(version):
                await server.command(f"/pause?mode={mode}")
                await server.command("/update_weight_version", new_version=version)
                await server.command("/resume")
        return await running, server.replies


@pytest.mark.parametrize(
    ("modes", "parts"), [(["keep", "keep"], 1), (["abort", "abort"], 3), (["abort", "keep"], 2)]
)
async def test_the_recorded_spans_are_the_servers(vllm_url: str, modes: list[str], parts: int) -> None:
    versions = [f"{'-'.join(modes)}-{number}" for number in range(2)]
    trajectory, replies = await rolled_out_over_updates(vllm_url, modes, versions)
    (turn,) = trajectory.turns
    assert trajectory.stop_reason is StopReason.TRUNCATED
    assert len(replies) == parts
    assert turn.resumes == parts - 1
    spans: list[VersionSpan] = []
    ids: list[int] = []
    for reply in replies:
        (choice,) = reply["choices"]
        theirs = msgspec.convert(choice["weight_versions"], list[VersionSpan])
        spans = join_spans(spans, [span for span in theirs if span.end > span.start], len(ids))
        ids += choice["token_ids"]
    assert (turn.token_ids, turn.weight_versions) == (ids, spans)
    assert len(ids) == len(turn.logprobs or []) == TOKENS
    assert [span.version for span in spans][1:] == versions
    assert all(span.end > span.start for span in spans)
    (sequence,) = trajectory.sequences
    assert sequence.weight_versions is not None
    sampled = [
        version for version, mask in zip(sequence.weight_versions, sequence.loss_mask, strict=True) if mask
    ]
    assert sampled == [span.version for span in spans for _ in range(span.start, span.end)]
