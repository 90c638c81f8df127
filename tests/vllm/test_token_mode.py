"""Token mode through `/v1/completions` on vLLM: all there is where its generate endpoint is closed."""

from __future__ import annotations

import asyncio

import pytest

from rollway.embedded.policy import find_policy
from rollway.environments.calculator import CalculatorEnvironment
from rollway.evaluation.rollout import new_trajectory, run_rollout
from rollway.inference import Sampling, TokenClient
from rollway.inference.prompt_scores import PromptScorer
from rollway.inference.token_client import Endpoint
from rollway.limits import Limits
from rollway.sequences import whole_prompts
from rollway.tools import ToolPool
from rollway.trajectory import PromptFit, Trajectory
from rollway.verification import Bounds, verify_trajectories

pytestmark = pytest.mark.vllm

ROLLOUTS = 8


async def roll_out(url: str, endpoint: Endpoint, temperature: float) -> list[Trajectory]:
    environment = CalculatorEnvironment()
    client = TokenClient(url, "calculator", find_policy("calculator"), endpoint=endpoint)
    with ToolPool(ROLLOUTS) as pool:
        async with client:
            await client.check()  # the endpoint is open to whoever asks whether it is
            return await asyncio.gather(
                *(
                    run_rollout(
                        environment,
                        task,
                        client=client,
                        pool=pool,
                        limits=Limits(max_turns=8, timeout=600),
                        sampling=Sampling(temperature=temperature, max_tokens=256),
                        reasoning_parser="qwen3",
                        trajectory=new_trajectory(environment, task, seed=number),
                    )
                    for number, task in enumerate(environment.tasks("test")[:ROLLOUTS])
                )
            )


async def test_completions_give_every_sampled_token_once_with_its_logprob(vllm_url: str) -> None:
    trajectories = await roll_out(vllm_url, "completions", temperature=1.0)
    assert any(len(trajectory.turns) > 1 for trajectory in trajectories)
    for trajectory in trajectories:
        assert trajectory.error is None
        (sequence,) = trajectory.sequences
        for turn, prompt in zip(trajectory.turns, whole_prompts(trajectory.turns), strict=True):
            assert turn.untrainable is None
            assert turn.token_ids
            assert prompt is not None
            at = len(prompt)
            end = at + len(turn.token_ids)
            assert sequence.token_ids[:end] == prompt + turn.token_ids
            assert sequence.loss_mask[at:end] == [1] * len(turn.token_ids)
            assert turn.prompt_fit is (PromptFit.EXTENDED if turn.index else None)
        assert sum(sequence.loss_mask) == sum(len(turn.token_ids or []) for turn in trajectory.turns)
    async with PromptScorer(vllm_url, "calculator") as scorer:
        report = await verify_trajectories(trajectories, scorer, bounds=Bounds(largest=1e-3))
    assert report.failures == []
    assert report.differences.tokens == report.sampled_tokens > 100


async def test_completions_sample_what_generate_samples(vllm_url: str) -> None:
    """Greedy, so that nothing but the endpoint could make a difference."""
    by_endpoint = [
        await roll_out(vllm_url, endpoint, temperature=0.0) for endpoint in ("completions", "generate")
    ]
    for completions, generate in zip(*by_endpoint, strict=True):
        assert completions.messages == generate.messages
        (one,), (other,) = completions.sequences, generate.sequences
        assert (one.token_ids, one.loss_mask) == (other.token_ids, other.loss_mask)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
