"""What shapes the distribution is said to each server in its own words, and stands on record."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_server import ScriptedServer, error, reply

from rollway.agent_loop import AgentLoop
from rollway.inference import BadRequest, ChatClient, CompletionRequest, OpenAIClient, Sampling
from rollway.inference.sampling_fields import (
    LLAMA_CPP,
    NEUTRAL,
    OPENAI,
    SGLANG,
    VLLM,
    Spelling,
    effective,
    shaped_by,
    spell,
    with_defaults,
)

USER = {"role": "user", "content": "3 + 4?"}


@pytest.mark.parametrize(
    "spelling", [VLLM, SGLANG, OPENAI, LLAMA_CPP], ids=["vllm", "sglang", "openai", "llama"]
)
def test_what_is_not_said_is_sent_with_the_value_that_changes_nothing(spelling: Spelling) -> None:
    sent = spell({"temperature": None, "seed": None}, spelling, neutral=True)
    assert sent == spelling.neutral
    assert shaped_by(sent) == {}


@pytest.mark.parametrize("all_tokens", [0, -1])
@pytest.mark.parametrize(("spelling", "word"), [(VLLM, -1), (SGLANG, -1), (LLAMA_CPP, 0), (OPENAI, None)])
def test_all_tokens_are_said_in_the_servers_own_word(spelling: Spelling, word: Any, all_tokens: int) -> None:
    for neutral in (True, False):
        assert spell({"top_k": all_tokens}, spelling, neutral=neutral).get("top_k") == word


def test_names_that_differ_are_the_servers() -> None:
    said = {"repetition_penalty": 1.1, "max_tokens": 7, "min_p": 0.1}
    assert spell(said, LLAMA_CPP, neutral=False) == {"repeat_penalty": 1.1, "n_predict": 7, "min_p": 0.1}
    assert spell(said, LLAMA_CPP, neutral=True)["repeat_penalty"] == 1.1
    assert spell({"max_tokens": 7}, SGLANG, neutral=False) == {"max_new_tokens": 7}


def test_the_record_says_what_is_sent() -> None:
    assert effective(Sampling()) == {"defaults": "neutral", **NEUTRAL}
    assert effective(Sampling(top_k=5, defaults="server")) == {"defaults": "server", "top_k": 5}
    stated = effective(Sampling(temperature=0.5, extra={"top_p": 0.9, "logit_bias": {"3": 1}, "user": "x"}))
    assert stated == {
        "defaults": "neutral",
        **NEUTRAL,
        "temperature": 0.5,
        "top_p": 0.9,
        "logit_bias": {"3": 1},
    }
    assert shaped_by(stated) == {"temperature": 0.5, "top_p": 0.9, "logit_bias": {"3": 1}}


def test_what_a_hosted_provider_is_not_sent_is_not_on_record() -> None:
    assert set(effective(Sampling(), OPENAI)) == {"defaults", *OPENAI.neutral}
    assert effective(Sampling(top_k=5), OPENAI)["top_k"] == 5  # asked for, so sent


def test_written_out_defaults_are_the_same_sampling() -> None:
    written = with_defaults(Sampling(temperature=0.5, max_tokens=7))
    assert (written.temperature, written.top_p, written.top_k, written.max_tokens) == (0.5, 1.0, -1, 7)
    assert effective(written) == effective(Sampling(temperature=0.5))
    left = Sampling(defaults="server")
    assert with_defaults(left) == left


async def test_a_rollout_carries_what_it_was_drawn_with() -> None:
    async with ScriptedServer(lambda _: reply("7")) as server:
        async with ChatClient(server.url, "scripted") as client:
            trajectory = await AgentLoop(client, sampling=Sampling(top_p=0.5)).run([USER])
        async with OpenAIClient("scripted", "k", f"{server.url}/v1") as client:
            hosted = await AgentLoop(client, sampling=Sampling(defaults="server")).run([USER])
    assert trajectory.sampling == {"defaults": "neutral", **NEUTRAL, "top_p": 0.5}
    assert hosted.sampling == {"defaults": "server"}


@pytest.mark.parametrize("hosted", [False, True])
async def test_a_refusal_of_a_field_that_nobody_asked_for_says_how_to_mend_it(hosted: bool) -> None:
    refusal = error(400, "Unsupported parameter: 'top_p' is not supported with this model.")
    async with ScriptedServer(lambda _: refusal) as server:
        url = f"{server.url}/v1"
        async with OpenAIClient("m", "k", url) if hosted else ChatClient(url, "m") as client:
            with pytest.raises(BadRequest, match=r"sampling\.defaults: server") as raised:
                await client.generate(CompletionRequest(messages=[USER]))
            for sampling in (Sampling(top_p=0.5), Sampling(defaults="server"), Sampling(extra={"top_p": 1})):
                with pytest.raises(BadRequest) as plain:
                    await client.generate(CompletionRequest(messages=[USER], sampling=sampling))
                assert "sampling.defaults" not in str(plain.value)
    assert raised.value.status == 400
    assert len(raised.value.attempts) == 1
