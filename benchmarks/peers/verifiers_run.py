"""The same rollouts through verifiers, run with the Python of ``.venv-bench-verifiers``.

Its cheapest way that is faithful: a `ToolEnv` in this process, one chat client, logprobs and token ids asked
for, rollouts scored one by one, nothing written to disk. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from importlib.metadata import version
from typing import Any

import verifiers as vf
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from verifiers.clients import OpenAIChatCompletionsClient

from benchmarks.measure import Lag, Stopwatch, rss
from benchmarks.script import ANSWER, QUESTION

WARM_UP = 16


class Tally:
    """What the rubric saw in the rollouts' states."""

    def __init__(self) -> None:
        self.turns = self.calls = self.tokens = self.logprobs = self.answers = self.ran = 0


def environment(count: int, turns: int, tally: Tally) -> vf.ToolEnv:
    def lookup(part: str, count: int) -> str:
        """Look a part up in the inventory.

        Args:
            part: The part's name.
            count: How many are needed.
        """
        tally.ran += 1
        return f"{part}: {count} in stock"

    async def answered(state: vf.State) -> float:
        steps = state["trajectory"]
        tally.turns += len(steps)
        for step in steps:
            tally.calls += len(step["completion"][-1].tool_calls or ())
            if step["tokens"] is not None:
                tally.tokens += len(step["tokens"]["completion_ids"])
                tally.logprobs += len(step["tokens"]["completion_logprobs"])
        right = str(steps[-1]["completion"][-1].content).endswith(ANSWER)
        tally.answers += right
        return float(right)

    rows = [
        {"example_id": index, "prompt": [{"role": "user", "content": QUESTION}], "answer": ANSWER}
        for index in range(count)
    ]
    return vf.ToolEnv(
        eval_dataset=Dataset.from_list(rows),
        tools=[lookup],
        max_turns=turns + 1,
        rubric=vf.Rubric(funcs=[answered]),
    )


async def generate(env: vf.ToolEnv, client: OpenAIChatCompletionsClient, count: int, in_flight: int) -> None:
    await env.generate(
        env.get_eval_dataset(n=count),
        client=client,
        model="scripted",
        sampling_args={"logprobs": True, "extra_body": {"return_token_ids": True}},
        max_concurrent=in_flight,
        independent_scoring=True,
        on_progress=lambda *_: None,
    )


async def run(address: str, path: str, rollouts: int, in_flight: int) -> dict[str, Any]:
    turns = int(path.split("-")[1])
    os.environ["BENCH_KEY"] = "none"
    config = vf.ClientConfig(api_base_url=f"{address}{path}/v1", api_key_var="BENCH_KEY")
    client = OpenAIChatCompletionsClient(config)
    await generate(environment(WARM_UP, turns, Tally()), client, WARM_UP, WARM_UP)
    tally = Tally()
    env, before = environment(rollouts, turns, tally), rss()
    env.get_eval_dataset(n=rollouts)
    async with Lag() as lag:
        watch = Stopwatch()
        await generate(env, client, rollouts, in_flight)
        told = watch.told()
    counted = {"rss_before": before, "warm_up": WARM_UP, "version": version("verifiers")}
    return told | lag.told() | vars(tally) | counted


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    disable_progress_bar()
    print(json.dumps(asyncio.run(run(**json.loads(sys.argv[1])))))
