"""The embedded policy, asked what it was never taught: how it was sampled shows in a few thousand tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from rollway import AgentLoop, Sampling, Trajectory
from rollway.inference import ChatClient
from rollway.inference.launch import launch_embedded_sync
from rollway.inference.prompt_scores import PromptScorer
from rollway.inference.sampling_fields import effective
from rollway.verification import Bounds, VerificationReport, verify_trajectories

WORDS = [
    "Tell",
    "me",
    "about",
    "the",
    "sea,",
    "the",
    "wind",
    "and",
    "old",
    "bread;",
    "who",
    "was",
    "there,",
    "and",
    "why",
    "did",
    "they",
    "go",
    "so",
    "late?",
]
POLICY = "calculator-weak"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with launch_embedded_sync(POLICY) as url:
        yield url


def question(number: int) -> list[dict[str, Any]]:
    words = [WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(1 + number % 9)]
    return [{"role": "user", "content": " ".join(words)}]


async def roll_out(url: str, rollouts: int, drawn_with: Sampling, said: Sampling) -> VerificationReport:
    """Sampled in one way, with another on record."""
    free = asyncio.Semaphore(64)

    async def one(client: ChatClient, number: int) -> Trajectory:
        fields = {name: getattr(drawn_with, name) for name in Sampling.__struct_fields__}
        sampling = Sampling(**fields | {"seed": number, "max_tokens": 100})
        async with free:
            trajectory = await AgentLoop(client, sampling=sampling).run(question(number))
        trajectory.sampling = effective(said)
        return trajectory

    async with ChatClient(url, POLICY) as client, PromptScorer(url, POLICY, top=20) as scorer:
        trajectories = await asyncio.gather(*(one(client, number) for number in range(rollouts)))
        return await verify_trajectories(trajectories, scorer, bounds=Bounds(largest=1e-3))


@pytest.mark.parametrize(
    ("unstated", "rollouts"),
    [({"top_k": 20}, 500), ({"top_p": 0.95}, 100), ({"min_p": 0.05}, 100), ({"temperature": 0.8}, 100)],
    ids=str,
)
async def test_what_is_not_on_record_is_found_out(url: str, unstated: dict[str, Any], rollouts: int) -> None:
    report = await roll_out(url, rollouts, Sampling(**unstated), Sampling())
    assert report.drawn.tokens == report.sampled_tokens < 20_000
    (failure,) = report.failures
    assert failure.startswith("not drawn from the distribution on record: ")


@pytest.mark.parametrize(
    "stated", [{}, {"top_k": 20}, {"top_p": 0.9}, {"min_p": 0.05}, {"temperature": 0.8}], ids=str
)
async def test_what_is_on_record_is_no_fault(url: str, stated: dict[str, Any]) -> None:
    report = await roll_out(url, 100, Sampling(**stated), Sampling(**stated))
    assert report.failures == []
    assert report.drawn.tokens > 500
