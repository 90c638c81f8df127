"""What goes wrong on the real llama.cpp server, and what the record says of it."""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from llama.conftest import START_DEADLINE, starting

from rollway.agent_loop import AgentLoop
from rollway.inference import (
    BadRequest,
    ChatClient,
    CompletionRequest,
    InvalidReply,
    ModelNotFound,
    RetryPolicy,
    Sampling,
    TokenClient,
)
from rollway.trajectory import StopReason, Trajectory

pytestmark = pytest.mark.llama

CONTEXT = 256
QUESTION = [{"role": "user", "content": "Count to ten thousand."}]
ASCII = [[10813, False]]  # not the first token of most emoji, whose ids chat replies leave out
PATIENT = RetryPolicy(tries=1000, first_delay=0.05, max_delay=0.1)


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[str]:
    """A server that begins to answer, with one slot of 256 tokens that throws away what is old."""
    with starting(tmp_path / "server.log", n_ctx=CONTEXT, n_parallel=1, ctx_shift=True) as (url, process):
        deadline = time.monotonic() + START_DEADLINE
        while not await asyncio.to_thread(_answers, url):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        yield url


def _answers(url: str) -> bool:
    """Whether it says anything, be it that it is loading."""
    try:
        urllib.request.urlopen(f"{url}/health", timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


async def test_loading_is_waited_for_and_a_context_that_was_shifted_is_not_trained_on(
    small: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = Sampling(temperature=1.0, max_tokens=CONTEXT, extra={"ignore_eos": True, "logit_bias": ASCII})
    asked = CompletionRequest(messages=QUESTION, sampling=long)
    async with ChatClient(small, "smollm", retry=PATIENT) as client:
        with caplog.at_level(logging.WARNING, logger="rollway"):
            completion = await client.generate(asked)
    assert {attempt.status for attempt in completion.attempts} == {503}
    assert completion.usage.prompt_tokens + completion.usage.completion_tokens > CONTEXT
    assert completion.token_ids is not None
    assert completion.prompt_token_ids is None
    assert "start it without --context-shift" in caplog.text
    async with TokenClient(small, folder=folder) as tokens:
        await tokens.check()
        with pytest.raises(InvalidReply, match="start it without --context-shift"):
            await tokens.generate(asked)


async def test_a_cancelled_rollout_frees_its_slot(llama_url: str) -> None:
    trajectory = Trajectory(id="cancelled", messages=[])
    sampled = await asyncio.to_thread(metric, llama_url, "tokens_predicted_total")
    async with ChatClient(llama_url) as client:
        await client.check()
        sampling = Sampling(temperature=1.0, max_tokens=1900, extra={"ignore_eos": True})
        task = asyncio.create_task(AgentLoop(client, sampling=sampling).run(QUESTION, trajectory=trajectory))
        await until_running(llama_url, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_running(llama_url, 0)
    assert trajectory.stop_reason is StopReason.CANCELLED
    assert await asyncio.to_thread(metric, llama_url, "tokens_predicted_total") - sampled < 1900


async def until_running(url: str, wanted: int) -> None:
    async with asyncio.timeout(60):
        while await asyncio.to_thread(metric, url, "requests_processing") != wanted:
            await asyncio.sleep(1.5)  # it looks for closed connections when it has answered nobody for 1 s


def metric(url: str, name: str) -> float:
    text = urllib.request.urlopen(f"{url}/metrics", timeout=60).read().decode()
    (line,) = [line for line in text.split("\n") if line.startswith(f"llamacpp:{name} ")]
    return float(line.rpartition(" ")[2])


async def test_a_malformed_conversation_is_refused_with_the_servers_words(llama_url: str) -> None:
    async with ChatClient(llama_url) as client:
        await client.check()
        with pytest.raises(BadRequest, match="messages must contain 'content'"):
            await client.generate(CompletionRequest(messages=[{"role": "user"}]))


async def test_another_models_name_is_told_with_the_one_that_is_served(llama_url: str) -> None:
    async with ChatClient(llama_url, "Qwen3") as client:
        with pytest.raises(ModelNotFound, match=r"SmolLM2-135M-Instruct\.Q4_1\.gguf"):
            await client.check()


async def test_a_server_that_names_no_folder_is_asked_for_one(llama_url: str) -> None:
    async with TokenClient(llama_url) as client:
        with pytest.raises(BadRequest, match="pass folder="):
            await client.check()


async def test_a_field_of_other_servers_is_refused(llama_url: str, folder: Path) -> None:
    sampling = Sampling(max_tokens=4, extra={"min_tokens": 2})
    async with TokenClient(llama_url, folder=folder) as client:
        await client.check()
        with pytest.raises(BadRequest, match=r"llama\.cpp knows no 'min_tokens'"):
            await client.generate(CompletionRequest(messages=QUESTION, sampling=sampling))
