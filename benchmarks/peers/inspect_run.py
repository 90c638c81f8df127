"""The same rollouts through inspect_ai, run with the Python of ``.venv-bench-inspect``.

Its cheapest way that is faithful: one task in this process, `generate` with a tool, the OpenAI-compatible
provider with logprobs asked for, no display, and its log file as the only record, without the raw calls of
the model. It has no place for token ids. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from importlib.metadata import version
from typing import Any

from inspect_ai import Task, eval_async
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import ChatMessageAssistant, GenerateConfig, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import Tool, tool
from inspect_ai.util._display import init_display_type

from benchmarks.measure import Lag, Stopwatch, rss
from benchmarks.script import ANSWER, QUESTION

WARM_UP = 16


class Tally:
    """What the tool and the log saw."""

    def __init__(self) -> None:
        self.turns = self.calls = self.logprobs = self.answers = self.ran = 0


TALLY = Tally()


@tool
def lookup() -> Tool:
    async def execute(part: str, count: int) -> str:
        """Look a part up in the inventory.

        Args:
            part: The part's name.
            count: How many are needed.
        """
        TALLY.ran += 1
        return f"{part}: {count} in stock"

    return execute


async def evaluate(address: str, path: str, count: int, in_flight: int, folder: str) -> Any:
    samples = [Sample(id=index + 1, input=QUESTION, target=ANSWER) for index in range(count)]
    model = get_model(
        "openai-api/scripted/scripted",
        base_url=f"{address}{path}/v1",
        api_key="none",
        config=GenerateConfig(logprobs=True, max_connections=in_flight),
        memoize=False,
    )
    task = Task(dataset=MemoryDataset(samples), solver=[use_tools(lookup()), generate()], scorer=includes())
    logs = await eval_async(
        task,
        model=model,
        max_samples=in_flight,
        max_connections=in_flight,
        log_dir=folder,
        log_model_api=False,
        log_realtime=False,
        log_images=False,
        score_display=False,
    )
    if logs[0].status != "success":
        raise RuntimeError(str(logs[0].error))
    return logs[0]


def count_log(location: str) -> None:
    for sample in read_eval_log(location).samples or ():
        said = [message for message in sample.messages if isinstance(message, ChatMessageAssistant)]
        TALLY.turns += len(said)
        TALLY.calls += sum(len(message.tool_calls or ()) for message in said)
        TALLY.answers += said[-1].text.endswith(ANSWER)
        found = sample.output.choices[0].logprobs
        TALLY.logprobs += len(found.content) if found else 0  # of the last reply: the log has no others


async def run(address: str, path: str, rollouts: int, in_flight: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-inspect-") as folder:
        await evaluate(address, path, WARM_UP, WARM_UP, folder)
        TALLY.ran, before = 0, rss()
        async with Lag() as lag:
            watch = Stopwatch()
            log = await evaluate(address, path, rollouts, in_flight, folder)
            told = watch.told()
        count_log(log.location)
    counted = {"rss_before": before, "warm_up": WARM_UP, "version": version("inspect_ai")}
    return told | lag.told() | vars(TALLY) | counted


if __name__ == "__main__":
    init_display_type("none")
    print(json.dumps(asyncio.run(run(**json.loads(sys.argv[1])))))
