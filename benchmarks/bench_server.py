"""Sampled tokens a second of the embedded server over HTTP, at several numbers of requests in flight."""

from __future__ import annotations

import asyncio
import time

from rollway.environments.calculator import CalculatorEnvironment
from rollway.inference import ChatClient, CompletionRequest, Sampling
from rollway.inference.launch import launch_embedded

TOKENS = 128
IN_FLIGHT = (1, 16, 64)


async def tokens_per_second(client: ChatClient, in_flight: int, requests: int) -> float:
    environment = CalculatorEnvironment()
    tasks = environment.tasks("train")
    tools = [tool.definition() for tool in environment.tools]
    free = asyncio.Semaphore(in_flight)
    sampling = Sampling(temperature=1.0, max_tokens=TOKENS, extra={"ignore_eos": True})

    async def one(index: int) -> int:
        async with free:
            request = CompletionRequest(
                messages=environment.prompt(tasks[index]), tools=tools, sampling=sampling
            )
            return len((await client.generate(request)).token_ids or [])

    before = time.perf_counter()
    sampled = sum(await asyncio.gather(*(one(index) for index in range(requests))))
    return sampled / (time.perf_counter() - before)


async def measure() -> None:
    async with launch_embedded(policy="calculator") as base_url:
        async with ChatClient(base_url=base_url, model="calculator") as client:
            await tokens_per_second(client, 16, 32)
            alone = 0.0
            for in_flight in IN_FLIGHT:
                speed = await tokens_per_second(client, in_flight, max(4, in_flight * 4))
                alone = alone or speed
                print(f"{in_flight:3} in flight: {speed:8,.0f} tokens/s, {speed / alone:5.1f} times one")


def main(argv: list[str]) -> None:
    asyncio.run(measure())
