"""What vLLM sampled is what it gives again: every token, in its recorded context, in chat and token mode."""

from __future__ import annotations

import asyncio

import pytest

from rollway.embedded.policy import find_policy
from rollway.environments.calculator import CalculatorEnvironment
from rollway.evaluation.rollout import new_trajectory, run_rollout
from rollway.inference import ChatClient, Sampling
from rollway.inference.prompt_scores import PromptScorer
from rollway.inference.token_client import TokenClient
from rollway.limits import Limits
from rollway.tools import ToolPool
from rollway.trajectory import Trajectory
from rollway.verification import Bounds, VerificationReport, verify_trajectories

pytestmark = pytest.mark.vllm

ROLLOUTS = 60
IN_FLIGHT = 16
BOUNDS = {
    "float32": Bounds(largest=1e-3),
    "bfloat16": Bounds(mean=2e-3, p99=2e-2),
}
"""Float32 is held to its largest difference; bf16 rounds, so that single tokens may differ by more."""


@pytest.fixture(params=["float32", "bfloat16"])
def server(request: pytest.FixtureRequest) -> tuple[str, Bounds]:
    name = {"float32": "vllm_url", "bfloat16": "vllm_bf16_url"}[request.param]
    return request.getfixturevalue(name), BOUNDS[request.param]


def open_client(mode: str, url: str) -> ChatClient | TokenClient:
    if mode == "chat":
        return ChatClient(url, "calculator")
    return TokenClient(url, "calculator", find_policy("calculator"))


async def roll_out(mode: str, url: str) -> list[Trajectory]:
    """Calculator rollouts at temperature 1."""
    environment, free = CalculatorEnvironment(), asyncio.Semaphore(IN_FLIGHT)
    with ToolPool(IN_FLIGHT) as pool:
        async with open_client(mode, url) as client:

            async def one(number: int, task: dict) -> Trajectory:
                async with free:
                    return await run_rollout(
                        environment,
                        task,
                        client=client,
                        pool=pool,
                        limits=Limits(max_turns=8, timeout=600),
                        sampling=Sampling(temperature=1.0, max_tokens=256),
                        reasoning_parser=None if mode == "chat" else "qwen3",
                        trajectory=new_trajectory(environment, task, seed=number),
                    )

            tasks = environment.tasks("test")[:ROLLOUTS]
            return await asyncio.gather(*(one(number, task) for number, task in enumerate(tasks)))


async def verified(trajectories: list[Trajectory], url: str, bounds: Bounds) -> VerificationReport:
    async with PromptScorer(url, "calculator", top=20) as scorer:
        return await verify_trajectories(trajectories, scorer, bounds=bounds)


@pytest.mark.parametrize("mode", ["chat", "token"])
async def test_every_sampled_token_has_its_recorded_logprob(mode: str, server: tuple[str, Bounds]) -> None:
    url, bounds = server
    trajectories = await roll_out(mode, url)
    report = await verified(trajectories, url, bounds)
    assert report.failures == []
    assert (report.mismatches, report.suspect_turns, report.unchecked) == ({}, 0, {})
    assert report.untrainable_turns == {}
    assert report.differences.tokens == report.sequence_tokens == report.sampled_tokens > 1500
    assert report.drawn.tokens == report.sampled_tokens
    if mode == "token":
        assert set(report.turns_by_fit) == {"extended"}
        assert report.sequences == {"first": ROLLOUTS}


async def test_a_context_that_the_server_did_not_see_is_found(vllm_url: str) -> None:
    """One token of a tool's answer is another in the record, in the turn and in the sequence alike."""
    trajectory = next(t for t in await roll_out("chat", vllm_url) if len(t.turns) > 1)
    turn, sequence = trajectory.turns[1], trajectory.sequences[0]
    at = len(turn.prompt_token_ids) // 2
    turn.prompt_token_ids[at] += 1
    sequence.token_ids[turn.prompt_shared + at] += 1
    report = await verified([trajectory], vllm_url, BOUNDS["float32"])
    assert report.mismatches == {}
    assert report.differences.largest > 1e-3
    assert {token.turn for token in report.worst} <= set(range(1, len(trajectory.turns)))
