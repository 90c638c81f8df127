"""The floor: what any client pays that sends and reads these bytes, and nothing else.

aiohttp, a typed msgspec decoder for the ids, the logprobs and the call, and a growing list of messages. No
tool runs, nothing is checked, limited, timed, recorded or written. ``python -m benchmarks.floor '{...}'``
prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp
import msgspec

from benchmarks.measure import Lag, Stopwatch, rss
from benchmarks.script import QUESTION, TOOL


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _Function


class _Message(msgspec.Struct):
    content: str
    tool_calls: list[_Call] = []


class _Logprob(msgspec.Struct, gc=False):
    logprob: float


class _Logprobs(msgspec.Struct):
    content: list[_Logprob]


class _Choice(msgspec.Struct):
    message: _Message
    token_ids: list[int]
    logprobs: _Logprobs


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    prompt_token_ids: list[int]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Reply)


class Tally:
    """What was read."""

    turns = 0
    calls = 0
    tokens = 0
    answers = 0


async def rollout(session: aiohttp.ClientSession, url: str, tally: Tally) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": QUESTION}]
    request = {
        "model": "scripted",
        "messages": messages,
        "tools": [TOOL],
        "seed": 1_000_000_007,
        "logprobs": True,
        "return_token_ids": True,
    }
    headers = {"Content-Type": "application/json"}
    turns = []  # the ids and logprobs, as long as the rollout lasts
    while True:
        message, token_ids, logprobs = await _generate(session, url, _ENCODER.encode(request), headers)
        turns.append((token_ids, logprobs))
        tally.turns += 1
        tally.tokens += len(token_ids)
        if not message.tool_calls:
            tally.answers += 1
            return
        call = message.tool_calls[0]
        tally.calls += 1
        function = {"name": call.function.name, "arguments": call.function.arguments}
        wired = {"id": call.id, "type": "function", "function": function}
        messages.append({"role": "assistant", "content": message.content, "tool_calls": [wired]})
        result = "valve-0: 1 in stock"
        messages.append(
            {"role": "tool", "tool_call_id": call.id, "name": call.function.name, "content": result}
        )


async def _generate(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> tuple[_Message, list[int], list[float]]:
    async with session.post(url, data=body, headers=headers) as response:
        reply = _DECODER.decode(await response.read())
    choice = reply.choices[0]
    return choice.message, choice.token_ids, [entry.logprob for entry in choice.logprobs.content]


async def run(
    address: str, path: str, rollouts: int, in_flight: int, hold: float | None = None
) -> dict[str, Any]:
    """``hold``: seconds after which the memory is read, while every reply is held back."""
    url = f"{address}{path}/v1/chat/completions"
    left = iter(range(rollouts))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        await rollout(session, url, Tally())
        tally, before = Tally(), rss()

        async def lane() -> None:
            for _ in left:
                await rollout(session, url, tally)

        async def held() -> int:
            await asyncio.sleep(hold or 0.0)
            return rss()

        async with Lag() as lag:
            watch = Stopwatch()
            held_rss, *_ = await asyncio.gather(held(), *(lane() for _ in range(in_flight)))
            told = watch.told() | {"held_rss": held_rss}
    return told | lag.told() | vars(tally) | {"rss_before": before}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(run(**asked))))
