"""The product against the real vLLM: the same scores, the same tokens, nothing left running."""

from __future__ import annotations

import asyncio
import math
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rollway.agent_loop import AgentLoop
from rollway.environments.calculator import CalculatorEnvironment
from rollway.evaluation import evaluate
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run_directory import read_trajectories
from rollway.evaluation.summary import RunSummary
from rollway.inference import ChatClient, CompletionRequest, Sampling
from rollway.inference.launch import launch_embedded
from rollway.tools import ToolPool
from rollway.trajectory import StopReason, Trajectory

pytestmark = pytest.mark.vllm

ROLLOUTS = {"environment": "calculator", "split": "test", "tasks": 100, "samples": 2, "workers": 0}


def metric(url: str, name: str) -> float:
    text = urllib.request.urlopen(f"{url}/metrics", timeout=60).read().decode()
    lines = [line for line in text.split("\n") if line.startswith((name + "{", name + " "))]
    assert lines, f"no metric {name}"
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def until_zero(url: str, name: str, deadline: float = 60.0) -> None:
    async with asyncio.timeout(deadline):
        while await asyncio.to_thread(metric, url, name) != 0:
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def numpy_summary(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    out = tmp_path_factory.mktemp("numpy")
    return evaluate(EvalConfig(**ROLLOUTS, seed=3, out=str(out / "run")))


def run_on_vllm(url: str, out: Path, **changes: Any) -> tuple[RunSummary, list[Trajectory]]:
    model = {"base_url": url, "name": "calculator"}
    config = EvalConfig(**{**ROLLOUTS, "seed": 4, "model": model, "out": str(out), **changes})
    return evaluate(config), list(read_trajectories(out))


def assert_same_score(left: RunSummary, right: RunSummary) -> None:
    """Within four standard errors of the difference of two means, each clustered by task."""
    first, second = left.mean_reward, right.mean_reward
    assert first is not None
    assert second is not None
    spread = math.hypot(first.standard_error or 0.0, second.standard_error or 0.0)
    assert abs(first.mean - second.mean) <= 4 * spread


@pytest.mark.parametrize("parsed_by", ["server", "hermes"])
def test_the_score_is_the_numpy_servers_whoever_parses(
    vllm_url: str, tmp_path: Path, numpy_summary: RunSummary, parsed_by: str
) -> None:
    changes: dict[str, Any] = {}
    if parsed_by != "server":
        changes = {"sampling": {"extra": {"tool_choice": "none"}}, "tool_parser": "hermes"}
    summary, trajectories = run_on_vllm(vllm_url, tmp_path / "run", **changes)
    assert summary.scored == summary.asked == 200
    assert_same_score(summary, numpy_summary)
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    assert {turn.parsed_by for turn in turns if turn.tool_calls} == {parsed_by}
    for turn in turns:
        assert turn.token_ids
        assert turn.prompt_token_ids is not None
        assert turn.logprobs is not None
        assert len(turn.logprobs) == len(turn.token_ids)
        assert turn.untrainable is None
    assert sum(
        mask for it in trajectories for sequence in it.sequences for mask in sequence.loss_mask
    ) == sum(len(turn.token_ids or []) for turn in turns)
    # A malformed call between good ones is written back in another place; all other prompts extend.
    assert sum(len(trajectory.sequences) == 1 for trajectory in trajectories) >= 190


async def test_a_cancelled_rollout_leaves_nothing_running(vllm_url: str) -> None:
    trajectory = Trajectory(id="cancelled", messages=[])
    prompt = [{"role": "user", "content": "Count."}]
    async with ChatClient(base_url=vllm_url, model="calculator") as client:
        sampling = Sampling(temperature=1.0, max_tokens=1900, extra={"ignore_eos": True})
        loop = AgentLoop(client, sampling=sampling)
        task = asyncio.create_task(loop.run(prompt, trajectory=trajectory))
        async with asyncio.timeout(60):
            while await asyncio.to_thread(metric, vllm_url, "vllm:num_requests_running") == 0:
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_zero(vllm_url, "vllm:num_requests_running")
    assert trajectory.stop_reason is StopReason.CANCELLED


async def test_an_overflow_ends_as_context_overflow(vllm_url: str) -> None:
    async with ChatClient(base_url=vllm_url, model="calculator") as client:
        with ToolPool(2) as pool:
            environment = CalculatorEnvironment()
            loop = AgentLoop(client, tools=environment.tools, pool=pool)
            trajectory = await loop.run([{"role": "user", "content": "1 + 1 " * 2000}])
    assert trajectory.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert trajectory.turns == []


async def test_greedy_tokens_and_logprobs_are_the_numpy_servers(vllm_url: str) -> None:
    environment = CalculatorEnvironment()
    definitions = [tool.definition() for tool in environment.tools]
    tasks = environment.tasks("test")[:20]
    sampling = Sampling(temperature=0.0, max_tokens=64)

    async def replies(url: str) -> list[tuple[list[int], list[int], list[float]]]:
        async with ChatClient(base_url=url, model="calculator") as client:
            requests = [
                CompletionRequest(messages=environment.prompt(task), tools=definitions, sampling=sampling)
                for task in tasks
            ]
            completions = await asyncio.gather(*(client.generate(request) for request in requests))
        return [
            (reply.prompt_token_ids or [], reply.token_ids or [], reply.logprobs or [])
            for reply in completions
        ]

    async with launch_embedded(policy="calculator") as numpy_url:
        ours = await replies(numpy_url)
    theirs = await replies(vllm_url)
    for (our_prompt, our_ids, our_logprobs), (prompt, ids, logprobs) in zip(ours, theirs, strict=True):
        assert our_prompt == prompt
        assert our_ids == ids
        assert our_logprobs == pytest.approx(logprobs, abs=1e-3)
