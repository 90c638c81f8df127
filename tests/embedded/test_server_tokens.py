"""Prompts of token ids: the completions and generate endpoints, and what a server says about itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

COMPLETIONS = "/v1/completions"
GENERATE = "/inference/v1/generate"
PROMPT = [5, 6, 7, 300, 12]


async def test_completions_take_ids_and_sample_sixteen_tokens_unless_told(api: Any) -> None:
    body = {"prompt": PROMPT, "seed": 1, "return_token_ids": True, "logprobs": 1, "ignore_eos": True}
    status, reply = await api.post(COMPLETIONS, body, **{"X-Request-Id": "r"})
    assert status == 200
    assert (reply["id"], reply["object"]) == ("cmpl-r", "text_completion")
    (choice,) = reply["choices"]
    assert choice["prompt_token_ids"] == PROMPT
    assert len(choice["token_ids"]) == 16
    assert choice["finish_reason"] == "length"
    logprobs = choice["logprobs"]
    assert {len(values) for values in logprobs.values()} == {16}
    assert all(1 <= len(entry) <= 2 for entry in logprobs["top_logprobs"])
    text = await api.ok("/detokenize", tokens=choice["token_ids"])
    assert choice["text"] == text["prompt"]


async def test_completions_take_texts_and_several_prompts(api: Any) -> None:
    tokens = (await api.ok("/tokenize", prompt="Hello"))["tokens"]
    body = {"seed": 1, "max_tokens": 5, "return_token_ids": True}
    both = await api.ok(COMPLETIONS, prompt=["Hello", "Bye"], n=2, **body)
    assert [choice["index"] for choice in both["choices"]] == [0, 1, 2, 3]
    by_ids = await api.ok(COMPLETIONS, prompt=[tokens], n=2, **body)
    assert by_ids["choices"] == both["choices"][:2]
    sampled = sum(len(choice["token_ids"]) for choice in both["choices"])
    assert both["usage"]["completion_tokens"] == sampled


async def test_a_stream_of_completions_adds_up(api: Any) -> None:
    body = {
        "prompt": [PROMPT, [9]],
        "n": 2,
        "seed": 4,
        "return_token_ids": True,
        "logprobs": 0,
        "max_tokens": 9,
    }
    whole = await api.ok(COMPLETIONS, **body)
    *chunks, last = await api.events(COMPLETIONS, **body, stream_options={"include_usage": True})
    assert last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    for expected in whole["choices"]:
        parts = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == expected["index"]]
        assert "".join(part["text"] for part in parts) == expected["text"]
        assert [token for part in parts for token in part["token_ids"]] == expected["token_ids"]
        assert parts[0]["prompt_token_ids"] == expected["prompt_token_ids"]
        assert all("prompt_token_ids" not in part for part in parts[1:])
        assert parts[-1]["finish_reason"] == expected["finish_reason"]


async def test_generate_gives_ids_and_logprobs_for_ids(api: Any) -> None:
    body = {
        "request_id": "r1",
        "token_ids": PROMPT,
        "sampling_params": {"max_tokens": 6, "logprobs": 2, "seed": 3, "ignore_eos": True},
    }
    reply = await api.ok(GENERATE, **body)
    assert reply["request_id"] == "generate-tokens-r1"
    assert reply["prompt_token_ids"] == PROMPT
    (choice,) = reply["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", None)
    assert choice["weight_versions"] == [{"version": "default", "start": 0, "end": 6}]
    content = choice["logprobs"]["content"]
    assert [entry["token_id"] for entry in content] == choice["token_ids"]
    for entry in content:
        assert [top["rank"] for top in entry["top_logprobs"]] == [1, 2]
        if entry["rank"] <= 2:
            likely = entry["top_logprobs"][entry["rank"] - 1]
            assert likely["logprob"] == pytest.approx(entry["logprob"])
    same = await api.ok(
        COMPLETIONS, prompt=PROMPT, max_tokens=6, seed=3, return_token_ids=True, ignore_eos=True
    )
    assert same["choices"][0]["token_ids"] == choice["token_ids"]
    pieces = await api.events(GENERATE, **body)
    assert [token for piece in pieces for token in piece["choices"][0]["token_ids"]] == choice["token_ids"]
    assert pieces[0]["prompt_token_ids"] == PROMPT
    assert pieces[-1]["choices"][0]["weight_versions"] == choice["weight_versions"]


async def test_generate_goes_on_to_the_end_of_the_context_unless_told(api: Any) -> None:
    body = {"token_ids": PROMPT * 190, "sampling_params": {"ignore_eos": True, "seed": 1}}
    reply = await api.ok(GENERATE, **body)
    assert len(reply["choices"][0]["token_ids"]) == 1024 - 950


async def test_prompt_logprobs_score_a_given_sequence(api: Any) -> None:
    first = await api.ok(
        COMPLETIONS, prompt=PROMPT, seed=1, return_token_ids=True, logprobs=0, ignore_eos=True
    )
    choice = first["choices"][0]
    whole = PROMPT + choice["token_ids"]
    scored = await api.ok(COMPLETIONS, prompt=whole, max_tokens=1, prompt_logprobs=0)
    entries = scored["choices"][0]["prompt_logprobs"]
    assert entries[0] is None
    assert [list(entry) for entry in entries[1:]] == [[str(token)] for token in whole[1:]]
    found = [entry[str(token)]["logprob"] for entry, token in zip(entries[1:], whole[1:], strict=True)]
    assert found[-16:] == pytest.approx(choice["logprobs"]["token_logprobs"], abs=1e-4)


async def test_the_server_says_what_it_is(api: Any) -> None:
    status, text = await api.get("/v1/models")
    (model,) = json.loads(text)["data"]
    assert (status, model["id"], model["max_model_len"]) == (200, "random", 1024)
    assert (await api.get("/health")) == (200, "")
    assert (await api.get("/ping"))[0] == 200
    assert "version" in json.loads((await api.get("/version"))[1])
    assert json.loads((await api.get("/load"))[1]) == {"server_load": 0}


async def test_metrics_count_tokens_and_cache_hits(api: Any) -> None:
    names = ("prompt_tokens_total", "generation_tokens_total", "prefix_cache_hits_total")
    before = [await api.metric(name) for name in names]
    prompt = list(range(200, 280))
    for _ in range(2):
        await api.ok(COMPLETIONS, prompt=prompt, max_tokens=4, ignore_eos=True)
    after = [await api.metric(name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [160, 8, 79]
    _, text = await api.get("/metrics")
    assert 'vllm:request_success_total{finished_reason="length",model_name="random"}' in text


async def test_tokenize_and_detokenize_are_each_others_way_back(api: Any) -> None:
    text = "<|im_start|>tea & <tool_call> é"
    reply = await api.ok("/tokenize", prompt=text, return_token_strs=True)
    assert reply["count"] == len(reply["tokens"]) == len(reply["token_strs"])
    assert reply["token_strs"][0] == "<|im_start|>"
    assert (await api.ok("/detokenize", tokens=reply["tokens"]))["prompt"] == text
