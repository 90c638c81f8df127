"""A small environment in a user's file, a scripted policy that solves it, and configs for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, reply

from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run_directory import read_trajectories
from rollway.inference.retry import RetryPolicy
from rollway.trajectory import Trajectory

ENVIRONMENT = '''
from rollway import Environment, tool


@tool
def add(a: int, b: int) -> int:
    """Add two integers.

    Args:
        a: One.
        b: The other.
    """
    return a + b


def right(trajectory, task):
    return str(task["n"] + 1) in (trajectory.messages[-1]["content"] or "")


class Sums(Environment):
    tools = [add]
    rewards = [right]

    def __init__(self, size=6):
        self.size = size

    def tasks(self, split):
        if split not in ("train", "test"):
            raise ValueError(f"no split {split!r}; there are 'train' and 'test'")
        return [{"task_id": f"{split}-{n}", "n": n} for n in range(self.size)]

    def prompt(self, task):
        return [{"role": "user", "content": f"What is {task['n']} + 1?"}]
'''


def solve(request: ScriptedRequest) -> dict[str, Any]:
    """Call `add` first, then answer with what it said."""
    *_, last = request.body["messages"]
    if last["role"] == "tool":
        return reply(f"The answer is {last['content']}.")
    n = int(last["content"].split()[2])
    return reply(tool_calls=[("add", {"a": n, "b": 1})])


class GatedPolicy:
    """`solve`, but answers after the first ``free`` wait until the gate is opened."""

    def __init__(self, free: int = 0) -> None:
        self.free = free
        self.gate = asyncio.Event()

    async def __call__(self, request: ScriptedRequest) -> dict[str, Any]:
        if request.index >= self.free:
            await self.gate.wait()
        return solve(request)


@pytest.fixture
def environment_file(tmp_path: Path) -> Path:
    file = tmp_path / "sums.py"
    file.write_text(ENVIRONMENT)
    return file


@pytest.fixture
def edit_environment(environment_file: Path) -> Callable[[str, str], None]:
    def edit(old: str, new: str) -> None:
        text = environment_file.read_text()
        assert old in text
        environment_file.write_text(text.replace(old, new))

    return edit


@pytest.fixture
async def policy() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(solve) as server:
        yield server


@pytest.fixture
def solver() -> Callable[[ScriptedRequest], dict[str, Any]]:
    return solve


@pytest.fixture
def gated() -> Callable[..., GatedPolicy]:
    return GatedPolicy


@pytest.fixture
def config(environment_file: Path, tmp_path: Path) -> Callable[..., EvalConfig]:
    """A config for the small environment: in this process, no waiting between tries."""

    def make(server: ScriptedServer | str, **changes: Any) -> EvalConfig:
        url = server if isinstance(server, str) else server.url
        model = {"base_url": url, "retry": RetryPolicy(tries=2, first_delay=0.0, patience=0)}
        fields = {
            "environment": str(environment_file),
            "workers": 0,
            "out": str(tmp_path / "run"),
            "max_failed": "100%",  # tests look at failures in the summary
        }
        return EvalConfig(**{**fields, "model": model, **changes})

    return make


@pytest.fixture
def stored() -> Callable[[Path], dict[tuple[str, int], Trajectory]]:
    """A run's trajectories by key; every key once."""

    def read(path: Path) -> dict[tuple[str, int], Trajectory]:
        found: dict[tuple[str, int], Trajectory] = {}
        for trajectory in read_trajectories(path):
            key = (trajectory.task_id, trajectory.sample_index)
            assert key not in found, f"{key} is on record twice"
            found[key] = trajectory
        return found

    return read
