"""Rollouts with tools on the real llama.cpp server: a trainer reads what was sampled, in either mode."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from llama.conftest import SLOTS
from llama.prices import Prices

from rollway.agent_loop import AgentLoop
from rollway.evaluation.rollout import new_trajectory, run_rollout
from rollway.inference import ChatClient, CompletionRequest, Sampling, TokenClient
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.prompt_scores import PromptScorer
from rollway.limits import Limits
from rollway.sequences import whole_prompts
from rollway.tools import ToolPool
from rollway.trajectory import StopReason, Trajectory, Untrainable
from rollway.verification import Bounds, verify_trajectories

pytestmark = pytest.mark.llama

ROLLOUTS = 8
MODES = ["chat", "token"]
ROUNDING = Bounds(mean=0.05, p99=0.5)
"""Weights of four bits are multiplied in other pieces when a token is computed by itself than in a prompt."""


def open_client(mode: str, url: str, folder: Path, **options: Any) -> ChatClient | TokenClient:
    return TokenClient(url, folder=folder, **options) if mode == "token" else ChatClient(url, **options)


async def roll_out(client: ChatClient | TokenClient, count: int, **sampling: Any) -> list[Trajectory]:
    environment, free = Prices(), asyncio.Semaphore(SLOTS)
    tasks = environment.tasks("test")
    await client.check()
    with ToolPool(SLOTS) as pool:

        async def one(number: int) -> Trajectory:
            task = tasks[number % len(tasks)]
            async with free:
                return await run_rollout(
                    environment,
                    task,
                    client=client,
                    pool=pool,
                    limits=Limits(max_turns=4, timeout=100),
                    sampling=Sampling(**{"temperature": 1.0, "max_tokens": 40, **sampling}),
                    trajectory=new_trajectory(environment, task, seed=number),
                )

        return await asyncio.gather(*(one(number) for number in range(count)))


@pytest.mark.parametrize("mode", MODES)
async def test_every_sampled_token_stands_in_one_sequence_with_its_id_and_logprob(
    mode: str, llama_url: str, folder: Path
) -> None:
    async with open_client(mode, llama_url, folder) as client:
        trajectories = await roll_out(client, ROLLOUTS)
    assert all(trajectory.error is None for trajectory in trajectories)
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    assert sum(bool(turn.tool_results) for turn in turns) >= ROLLOUTS // 4
    assert {turn.parsed_by for turn in turns if turn.tool_calls} == {"hermes"}
    for trajectory in trajectories:
        prompts = whole_prompts(trajectory.turns)
        placed = 0
        for turn, prompt in zip(trajectory.turns, prompts, strict=True):
            if turn.untrainable is not None:  # a character of several tokens: chat replies leave ids out
                assert (mode, turn.untrainable) == ("chat", Untrainable.MISSING_TOKEN_IDS)
                assert turn.usage.completion_tokens > len(turn.logprobs or [])
                continue
            assert turn.token_ids
            assert prompt is not None
            assert turn.usage.prompt_tokens == len(prompt)
            assert turn.usage.completion_tokens == len(turn.token_ids)
            end = len(prompt) + len(turn.token_ids)
            (sequence,) = [
                sequence
                for sequence in trajectory.sequences
                if sequence.token_ids[:end] == prompt + turn.token_ids
                and sequence.loss_mask[len(prompt) : end] == [1] * len(turn.token_ids)
            ]
            assert sequence.logprobs is not None
            assert sequence.logprobs[len(prompt) : end] == turn.logprobs
            placed += len(turn.token_ids)
        assert sum(sum(sequence.loss_mask) for sequence in trajectory.sequences) == placed
    if mode == "token":
        assert all(len(trajectory.sequences) == 1 for trajectory in trajectories)


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_is_verified_token_by_token(mode: str, llama_url: str, folder: Path) -> None:
    async with open_client(mode, llama_url, folder) as client:
        trajectories = await roll_out(client, 2)
    async with PromptScorer(llama_url, top=20) as scorer:
        report = await verify_trajectories(trajectories, scorer, bounds=ROUNDING)
    assert report.failures == []
    assert (report.mismatches, report.suspect_turns, report.unchecked) == ({}, 0, {})
    assert report.differences.tokens == report.sequence_tokens > 30
    assert (report.drawn.tokens, report.drawn.likeliest) == (report.sequence_tokens, 20)


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_not_said_changes_nothing(mode: str, llama_url: str, folder: Path) -> None:
    """llama.cpp cuts at top_k 40, top_p 0.95 and min_p 0.05 where it is told nothing."""
    said = {"top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    runs = []
    for fields in ({"temperature": None}, said):
        async with open_client(mode, llama_url, folder) as client:
            runs.append(await roll_out(client, 2, **fields))
    for unsaid, same in zip(*runs, strict=True):
        assert unsaid.messages == same.messages
        assert [turn.token_ids for turn in unsaid.turns] == [turn.token_ids for turn in same.turns]


async def test_the_prompt_of_a_chat_is_the_one_that_was_read(llama_url: str, folder: Path) -> None:
    """The same greedy tokens with the same logprobs come from the ids alone."""
    environment = Prices()
    asked = CompletionRequest(
        messages=environment.prompt(environment.tasks("test")[0]),
        sampling=Sampling(temperature=0.0, max_tokens=24),
    )
    async with ChatClient(llama_url) as chat, TokenClient(llama_url, folder=folder) as token:
        await chat.check()
        await token.check()
        by_chat, by_ids = await chat.generate(asked), await token.generate(asked)
    assert by_chat.prompt_token_ids == by_ids.prompt_token_ids
    assert by_chat.token_ids == by_ids.token_ids
    assert by_chat.logprobs == pytest.approx(by_ids.logprobs, abs=0.1)


EMOJI = {"grammar": 'root ::= "😀a🦊"'}  # seven tokens, and one that ends the reply


async def test_a_character_of_several_tokens_has_all_its_logprobs_in_token_mode(
    llama_url: str, folder: Path
) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=16, extra=EMOJI)
    question = [{"role": "user", "content": "Smile."}]
    async with TokenClient(llama_url, folder=folder) as client, PromptScorer(llama_url) as scorer:
        await client.check()
        completion = await client.generate(CompletionRequest(messages=question, sampling=sampling))
        prompt, ids = completion.prompt_token_ids or [], completion.token_ids or []
        again = await scorer.score(prompt + ids, len(prompt))
    assert completion.content == "😀a🦊"
    assert ids[:-1] == FolderTokenizer(folder).encode("😀a🦊")
    assert completion.logprobs == pytest.approx(again, abs=0.1)


async def test_a_character_of_several_tokens_is_not_trained_on_in_chat_mode(
    llama_url: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=16, extra=EMOJI)
    with caplog.at_level(logging.WARNING, logger="rollway"):
        async with ChatClient(llama_url) as client:
            await client.check()
            question = [{"role": "user", "content": "Smile."}]
            completion = await client.generate(CompletionRequest(messages=question, sampling=sampling))
    assert completion.content == "😀a🦊"
    assert completion.token_ids is None
    assert "the ids of 4 of the 8 sampled tokens" in caplog.text


async def test_a_stop_string_leaves_no_gap_in_token_mode(llama_url: str, folder: Path) -> None:
    sampling = Sampling(temperature=0.0, max_tokens=40, stop=["bread"])
    environment = Prices()
    messages = environment.prompt(environment.tasks("test")[0])
    async with TokenClient(llama_url, folder=folder) as client, PromptScorer(llama_url) as scorer:
        await client.check()
        completion = await client.generate(CompletionRequest(messages=messages, sampling=sampling))
        prompt, ids = completion.prompt_token_ids or [], completion.token_ids or []
        again = await scorer.score(prompt + ids, len(prompt))
    assert completion.finish_reason == "stop"
    assert "bread" not in (completion.content or "")
    assert "bread" in FolderTokenizer(folder).decode(ids)
    assert completion.logprobs == pytest.approx(again, abs=0.1)


@pytest.mark.parametrize("mode", MODES)
async def test_a_prompt_that_is_too_long_is_an_overflow(mode: str, llama_url: str, folder: Path) -> None:
    long = [{"role": "user", "content": "one two " * 2000}]
    async with open_client(mode, llama_url, folder) as client:
        await client.check()
        trajectory = await AgentLoop(client, sampling=Sampling(max_tokens=4)).run(long)
    assert trajectory.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert trajectory.turns == []
