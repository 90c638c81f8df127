"""The environment of the engine's benchmarks: one tool, one reward, as many tasks as are asked for.

Loaded by path, in the driver and in Ray's workers. With ``lag_dir`` each worker writes there how late its
event loop was, because nobody else can see that from outside.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Lag
from benchmarks.script import ANSWER, QUESTION
from rollway.environments.base import Environment, Task
from rollway.tools import tool
from rollway.trajectory import Message, Trajectory

WRITE_SECONDS = 0.5  # between two notes on the lag


@tool
def lookup(part: str, count: int) -> str:
    """Look a part up in the inventory.

    Args:
        part: The part's name.
        count: How many are needed.
    """
    return f"{part}: {count} in stock"


@tool(name="lookup")
def slow_lookup(part: str, count: int) -> str:
    """Look a part up in the inventory, which takes a second.

    Args:
        part: The part's name.
        count: How many are needed.
    """
    time.sleep(1.0)
    return f"{part}: {count} in stock"


@tool(name="lookup")
async def async_lookup(part: str, count: int) -> str:
    """Look a part up in the inventory, on the event loop.

    Args:
        part: The part's name.
        count: How many are needed.
    """
    return f"{part}: {count} in stock"


@tool(name="lookup")
async def slow_async_lookup(part: str, count: int) -> str:
    """Look a part up in the inventory, which takes a second, on the event loop.

    Args:
        part: The part's name.
        count: How many are needed.
    """
    await asyncio.sleep(1.0)
    return f"{part}: {count} in stock"


TOOLS = {"quick": lookup, "slow": slow_lookup, "async": async_lookup, "slow async": slow_async_lookup}


def answered(trajectory: Trajectory, task: Task) -> float:
    """1.0 when all went as scripted: a call answered in each turn but the last, and the answer."""
    calls = sum(result.ok for turn in trajectory.turns for result in turn.tool_results)
    ended = (trajectory.answer or "").endswith(ANSWER)
    return float(ended and calls == len(trajectory.turns) - 1)


class ScriptedEnvironment(Environment):
    """Asks the question of the script.

    Args:
        count: tasks.
        tool: which of `TOOLS` it is.
        lag_dir: where to write how late the event loop was.
    """

    name = "scripted"
    rewards = (answered,)

    def __init__(self, count: int, tool: str = "quick", lag_dir: str | None = None) -> None:
        self.count = count
        self.tools = (TOOLS[tool],)
        self._lag_dir = lag_dir
        self._watch: asyncio.Task[None] | None = None

    def tasks(self, split: str) -> list[Task]:
        return [{"task_id": f"{index:06d}"} for index in range(self.count)]

    def prompt(self, task: Task) -> list[Message]:
        return [{"role": "user", "content": QUESTION}]

    async def setup(self, task: Task) -> Any:
        if self._lag_dir is not None and self._watch is None:
            self._watch = asyncio.create_task(_watch(Path(self._lag_dir)))


async def _watch(folder: Path) -> None:
    async with Lag() as lag:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await asyncio.to_thread(_write, folder / f"{os.getpid()}.json", json.dumps(list(lag.late)))
            if not (folder / "go").exists():
                del lag.late[:]  # the warm-up


def _write(file: Path, text: str) -> None:
    """Whole, whenever this process is killed."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)
