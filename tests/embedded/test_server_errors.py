"""What cannot be done is refused in vLLM's words, and a client that leaves takes its work with it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
GENERATE = "/inference/v1/generate"
HELLO = [{"role": "user", "content": "Hello"}]
SAMPLES = 16  # of one request, which take seconds: long enough to be seen while they run
ENDLESS = {"max_tokens": 1000, "ignore_eos": True, "n": SAMPLES}


async def test_a_prompt_that_is_too_long_is_refused_in_all_of_vllms_wordings(api: Any) -> None:
    long = [{"role": "user", "content": "0" * 2000}]
    chat = await api.error(CHAT, messages=long)
    assert chat["message"].startswith(
        "This model's maximum context length is 1024 tokens. However, your prompt contains at least 1025 "
        "input tokens, which exceeds this limit"
    )
    assert (chat["type"], chat["param"], chat["code"]) == ("BadRequestError", "input_tokens", 400)
    completion = await api.error(COMPLETIONS, prompt=[1] * 1100)
    assert "your prompt contains 1100 input tokens" in completion["message"]
    full = await api.error(COMPLETIONS, prompt=[1] * 1024)
    assert full["message"].startswith("max_tokens must be at least 1, got 0.")
    generate = await api.error(GENERATE, token_ids=[1] * 1100, sampling_params={"max_tokens": 1})
    assert generate["message"].startswith(
        "The decoder prompt (length 1100) is longer than the maximum model length of 1024"
    )
    open_ended = await api.error(GENERATE, token_ids=[1] * 1100, sampling_params={})
    assert open_ended["message"] == "Input length (1100) exceeds model's maximum context length (1024)."
    edge = await api.error(GENERATE, token_ids=[1] * 1024, sampling_params={})
    assert "plus the number of requested output tokens (at least 1) is longer than" in edge["message"]


async def test_more_tokens_than_the_context_holds_are_refused_and_than_are_left_are_cut(api: Any) -> None:
    error = await api.error(CHAT, messages=HELLO, max_tokens=5000)
    assert error["message"].startswith("max_tokens=5000 cannot be greater than max_model_len=1024")
    error = await api.error(CHAT, messages=HELLO, max_completion_tokens=5000)
    assert error["message"].startswith("max_completion_tokens=5000 cannot")
    reply = await api.ok(COMPLETIONS, prompt=[1] * 1020, max_tokens=100, ignore_eos=True)
    assert reply["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, GENERATE, "/tokenize", "/detokenize"])
async def test_another_model_is_not_found(api: Any, path: str) -> None:
    body = {"messages": HELLO, "prompt": "x", "token_ids": [1], "tokens": [1], "sampling_params": {}}
    error = await api.error(path, model="gpt-4", **body)
    assert error["message"] == "The model `gpt-4` does not exist. Valid aliases: random."
    assert (error["type"], error["param"], error["code"]) == ("NotFoundError", "model", 404)
    status, _ = await api.post(path, {"model": "random", **body})
    assert status == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 2.5}, "temperature must be in [0, 2], got 2.5. (parameter=temperature, value=2.5)"),
        ({"temperature": -1}, "temperature must be in [0, 2], got -1.0."),
        ({"top_p": 0}, "top_p must be in (0, 1], got 0.0."),
        ({"top_k": -2}, "top_k must be 0 (disable), or at least 1, got -2."),
        ({"min_p": 2}, "min_p must be in [0, 1], got 2.0."),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0."),
        ({"n": 0}, "n must be at least 1, got 0."),
        ({"n": 2, "temperature": 0}, "n must be 1 when using greedy sampling, got 2."),
        ({"stop": [""]}, "stop cannot contain an empty string."),
        ({"stop_token_ids": [9999]}, "token_id(s) [9999] in stop_token_ids contain out-of-vocab token ids."),
        (
            {"min_tokens": 30, "max_tokens": 3},
            "min_tokens must be less than or equal to max_tokens=3, got 30.",
        ),
        ({"logprobs": True, "top_logprobs": 21}, "Requested sample logprobs of 21, which is greater than"),
        ({"messages": []}, "Cannot apply chat template to an empty conversation."),
        ({"tools": []}, "`tools` must not be an empty array"),
        ({"tool_choice": "auto"}, "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)"),
        ({"top_logprobs": 3}, "when using `top_logprobs`, `logprobs` must be set to true."),
        ({"stream_options": {"include_usage": True}}, "Stream options can only be defined when"),
        ({"frequency_penalty": 0.5}, "`frequency_penalty` is not supported by the embedded server"),
        ({"response_format": {"type": "json_object"}}, "`response_format` is not supported"),
        ({"logit_bias": {"5": 1.0}}, "`logit_bias` is not supported"),
        ({"tools": [{"function": {}}]}, "each tool needs a function with a name"),
        (
            {"tools": [{"function": {"name": "f"}}], "tool_choice": "required"},
            "tool_choice 'required' is not",
        ),
    ],
)
async def test_what_cannot_be_sampled_is_refused(api: Any, change: dict[str, Any], words: str) -> None:
    error = await api.error(CHAT, **({"messages": HELLO} | change))
    assert words in error["message"]
    assert (error["type"], error["code"]) == ("BadRequestError", 400)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": "hello"}, "Expected `array`, got `str` - at `$.messages`"),
        ({"temperature": "hot"}, "Expected `float | null`, got `str`"),
        ({"tools": 5}, "Expected `array | null`, got `int` - at `$.tools`"),
    ],
)
async def test_a_malformed_body_is_a_bad_request(api: Any, change: dict[str, Any], words: str) -> None:
    error = await api.error(CHAT, **({"messages": HELLO} | change))
    assert words in error["message"]
    assert (error["type"], error["code"]) == ("Bad Request", 400)


async def test_neutral_values_of_what_is_not_done_are_accepted(api: Any) -> None:
    neutral = {
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "logit_bias": None,
        "response_format": {"type": "text"},
        "unheard_of": {"is": "ignored"},
    }
    await api.ok(CHAT, messages=HELLO, max_tokens=1, **neutral)


async def test_broken_json_wrong_ids_and_unknown_paths(api: Any) -> None:
    async with api.session.post(api.base_url + CHAT, data=b'{"messages":') as reply:
        assert reply.status == 400
        assert (await reply.json())["error"]["type"] == "Bad Request"
    assert "Token id 384 is out of vocabulary" in (await api.error(COMPLETIONS, prompt=[384]))["message"]
    assert "must not be negative" in (await api.error(COMPLETIONS, prompt=[-1]))["message"]
    assert "at least one prompt" in (await api.error(COMPLETIONS, prompt=[]))["message"]
    assert "non-empty" in (await api.error(COMPLETIONS, prompt=""))["message"]
    assert "at least 1 item" in (await api.error(GENERATE, token_ids=[], sampling_params={}))["message"]
    assert "must be a text" in (await api.error(COMPLETIONS, prompt=[[1, "x"]]))["message"]
    assert await api.post("/v1/nothing", {}) == (404, {"detail": "Not Found"})
    async with api.session.get(api.base_url + CHAT) as reply:
        assert reply.status == 405


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, GENERATE])
async def test_a_client_that_leaves_is_aborted(api: Any, path: str, stream: bool) -> None:
    await api.until("num_requests_running", 0)
    before = await api.aborted()
    body = {"messages": HELLO, "prompt": [1], "token_ids": [1], "sampling_params": ENDLESS, **ENDLESS}
    async with aiohttp.ClientSession() as session:
        call = asyncio.create_task(post_and_read(session, api.base_url + path, body | {"stream": stream}))
        await api.until("num_requests_running", SAMPLES)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    await api.until("num_requests_running", 0)
    assert await api.aborted() == before + SAMPLES


async def post_and_read(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
    async with session.post(url, json=body) as reply:
        await reply.read()


async def test_a_client_that_leaves_a_full_server_frees_all_that_it_had(api: Any) -> None:
    before = await api.aborted()
    body = {"prompt": [[1]] * 25, **ENDLESS, "n": 2}
    async with aiohttp.ClientSession() as session:
        call = asyncio.create_task(post_and_read(session, api.base_url + COMPLETIONS, body))
        await api.until("num_requests_running", 32)
        assert await api.metric("num_requests_waiting") == 18
        assert 0 < await api.metric("kv_cache_usage_perc") < 1
        call.cancel()
        await asyncio.wait([call])
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        await api.until(name, 0)
    assert await api.aborted() == before + 50


async def test_an_abort_by_id_answers_with_what_was_sampled(api: Any) -> None:
    body = {"messages": HELLO, "logprobs": True, "return_token_ids": True, **ENDLESS}
    call = asyncio.create_task(api.post(CHAT, body, **{"X-Request-Id": "victim"}))
    await api.until("num_requests_running", SAMPLES)
    async with api.session.post(
        api.base_url + "/inference/v1/abort_requests", json={"request_ids": ["chatcmpl-victim"]}
    ) as reply:
        assert reply.status == 200
    status, answer = await call
    assert (status, len(answer["choices"])) == (200, SAMPLES)
    for choice in answer["choices"]:
        assert choice["finish_reason"] == "abort"
        assert 0 < len(choice["token_ids"]) < 1000
        assert len(choice["logprobs"]["content"]) == len(choice["token_ids"])
    await api.until("num_requests_running", 0)
