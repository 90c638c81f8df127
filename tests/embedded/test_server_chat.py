"""Chats over HTTP, as a client of vLLM would have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from rollway.inference.launch import launch_embedded_sync

CHAT = "/v1/chat/completions"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello there"}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        },
    },
}


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "messages": HELLO,
        "max_tokens": 20,
        "seed": 3,
        "logprobs": True,
        "return_token_ids": True,
        "ignore_eos": True,
    } | changes


async def test_a_reply_has_the_shape_of_vllms(api: Any) -> None:
    status, reply = await api.post(CHAT, settings(top_logprobs=2), **{"X-Request-Id": "mine"})
    assert status == 200
    assert reply["id"] == "chatcmpl-mine"
    assert reply["object"] == "chat.completion"
    (choice,) = reply["choices"]
    assert choice["message"]["role"] == "assistant"
    assert "tool_calls" not in choice["message"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", None)
    assert reply["usage"]["completion_tokens"] == len(choice["token_ids"]) == 20
    assert reply["usage"]["prompt_tokens"] == len(reply["prompt_token_ids"])
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + 20
    content = choice["logprobs"]["content"]
    assert len(content) == 20
    for entry in content:
        assert entry["logprob"] <= 0
        assert len(entry["top_logprobs"]) == 2
        assert entry["top_logprobs"][0]["logprob"] >= entry["top_logprobs"][1]["logprob"]
    joined = b"".join(bytes(entry["bytes"]) for entry in content)
    text = await api.ok("/detokenize", tokens=choice["token_ids"])
    assert joined.decode("utf-8", errors="replace") == text["prompt"]


async def test_without_being_asked_a_reply_has_no_ids_and_no_logprobs(api: Any) -> None:
    reply = await api.ok(CHAT, messages=HELLO, max_tokens=2)
    assert reply["prompt_token_ids"] is None
    assert reply["choices"][0]["token_ids"] is None
    assert reply["choices"][0]["logprobs"] is None


async def test_the_prompt_is_the_one_that_tokenize_shows(api: Any) -> None:
    reply = await api.ok(CHAT, **settings(tools=[ADD]))
    shown = await api.ok("/tokenize", messages=HELLO, tools=[ADD])
    assert reply["prompt_token_ids"] == shown["tokens"]
    assert shown["count"] == len(shown["tokens"])
    assert shown["max_model_len"] == 1024


async def test_the_ids_are_the_text(api: Any) -> None:
    reply = await api.ok(CHAT, **settings(skip_special_tokens=False, max_tokens=60))
    choice = reply["choices"][0]
    text = await api.ok("/detokenize", tokens=choice["token_ids"])
    message = choice["message"]
    assert text["prompt"].endswith(message["content"] or "")


async def test_a_stream_adds_up_to_the_reply(api: Any) -> None:
    body = settings(n=2, top_logprobs=1)
    whole = await api.ok(CHAT, **body)
    events = await api.events(CHAT, **body, stream_options={"include_usage": True})
    *chunks, last = events
    assert [chunk["choices"][0]["delta"]["role"] for chunk in chunks[:2]] == ["assistant"] * 2
    assert all(chunk["prompt_token_ids"] == whole["prompt_token_ids"] for chunk in chunks[:2])
    assert last["choices"] == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert last["usage"][name] == whole["usage"][name]
    for index, expected in enumerate(whole["choices"]):
        parts = [c["choices"][0] for c in chunks[2:] if c["choices"][0]["index"] == index]
        assert [token for part in parts for token in part["token_ids"]] == expected["token_ids"]
        logprobs = [entry for part in parts for entry in part["logprobs"]["content"]]
        for entry, other in zip(logprobs, expected["logprobs"]["content"], strict=True):
            same_entry(entry, other)
            for likely, likely_then in zip(entry["top_logprobs"], other["top_logprobs"], strict=True):
                same_entry(likely, likely_then)
        content = "".join(part["delta"].get("content", "") for part in parts)
        assert content == (expected["message"]["content"] or "")
        assert [part["finish_reason"] for part in parts] == [None] * (len(parts) - 1) + ["length"]


def same_entry(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal but for rounding: the second time the prompt comes from the cache."""
    assert (one["token"], one["bytes"]) == (other["token"], other["bytes"])
    assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-4)


async def test_seeds_decide_whatever_else_runs(api: Any) -> None:
    alone = await api.ok(CHAT, **settings())
    others = [settings(seed=seed, messages=[{"role": "user", "content": "x" * seed}]) for seed in range(20)]
    replies = await asyncio.gather(*(api.ok(CHAT, **body) for body in [*others, settings()]))
    assert replies[-1]["choices"][0]["token_ids"] == alone["choices"][0]["token_ids"]
    free = {tuple((await api.ok(CHAT, **settings(seed=None)))["choices"][0]["token_ids"]) for _ in range(3)}
    assert len(free) == 3


async def test_temperature_zero_needs_no_seed(api: Any) -> None:
    replies = [await api.ok(CHAT, **settings(seed=None, temperature=0)) for _ in range(2)]
    assert replies[0]["choices"][0]["token_ids"] == replies[1]["choices"][0]["token_ids"]


async def test_stop_strings_end_the_reply(api: Any) -> None:
    free = (await api.ok(CHAT, **settings(max_tokens=60)))["choices"][0]["message"]["content"]
    stop = free[10:12]
    reply = (await api.ok(CHAT, **settings(max_tokens=60, stop=[stop, "never to be seen"])))["choices"][0]
    assert reply["message"]["content"] == free[: free.index(stop)]
    assert (reply["finish_reason"], reply["stop_reason"]) == ("stop", stop)
    kept = await api.ok(CHAT, **settings(max_tokens=60, stop=stop, include_stop_str_in_output=True))
    assert kept["choices"][0]["message"]["content"] == free[: free.index(stop)] + stop


async def test_the_next_turn_reports_what_it_had_cached(api: Any) -> None:
    first = await api.ok(CHAT, **settings(messages=[{"role": "user", "content": "cache " * 9}]))
    ids = first["prompt_token_ids"] + first["choices"][0]["token_ids"]
    again = await api.ok("/v1/completions", prompt=[*ids, 5], max_tokens=1)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == len(ids) - 1


@pytest.fixture(scope="module", params=["parsed", "bare"])
def calculator(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """The shipped policy, which calls tools, with and without parsing on the server."""
    parsed = request.param == "parsed"
    parser = {"tool_parser": "hermes" if parsed else None, "reasoning_parser": "qwen3" if parsed else None}
    with launch_embedded_sync("calculator", **parser) as url:
        yield url, parsed


@pytest.fixture
async def calculating(calculator: tuple[str, bool], make_api: Any) -> AsyncIterator[tuple[Any, bool]]:
    async with aiohttp.ClientSession() as session:
        yield make_api(session, calculator[0]), calculator[1]


async def test_calls_come_parsed_unless_parsing_is_off(calculating: tuple[Any, bool]) -> None:
    api, parsed = calculating
    body = {
        "messages": [{"role": "user", "content": "What is 12 + 30?"}],
        "tools": [ADD],
        "temperature": 0,
        "return_token_ids": True,
    }
    reply = await api.ok(CHAT, **body)
    choice = reply["choices"][0]
    if parsed:
        (call,) = choice["message"]["tool_calls"]
        assert call["type"] == "function"
        assert call["id"].startswith("chatcmpl-tool-")
        assert call["function"] == {"name": "add", "arguments": '{"a": 12, "b": 30}'}
        assert choice["finish_reason"] == "tool_calls"
        assert "<tool_call>" not in (choice["message"]["content"] or "")
    else:
        assert "tool_calls" not in choice["message"]
        assert choice["finish_reason"] == "stop"
        assert '<tool_call>\n{"name": "add", "arguments": {"a": 12, "b": 30}}' in choice["message"]["content"]
        return
    unread = await api.ok(CHAT, **body, tool_choice="none")
    assert "<tool_call>" in unread["choices"][0]["message"]["content"]
    events = await api.events(CHAT, **body)
    (delta,) = [e["choices"][0]["delta"] for e in events if "tool_calls" in e["choices"][0]["delta"]]
    assert delta["tool_calls"][0]["function"] == call["function"]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    streamed = [token for e in events[1:] for token in e["choices"][0]["token_ids"]]
    assert streamed == choice["token_ids"]


async def test_the_next_prompt_begins_with_the_ids_that_were_sampled(calculating: tuple[Any, bool]) -> None:
    api, _ = calculating
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is 12 + 30?"}]
    for temperature in (0, 1):
        body = {"messages": messages, "tools": [ADD], "temperature": temperature, "seed": 5}
        reply = await api.ok(CHAT, **body, return_token_ids=True)
        message = reply["choices"][0]["message"]
        said = {name: message.get(name) for name in ("role", "content", "tool_calls", "reasoning")}
        tool = {"role": "tool", "content": "42", "tool_call_id": "x"}
        shown = await api.ok("/tokenize", messages=[*messages, said, tool], tools=[ADD])
        ids = reply["prompt_token_ids"] + reply["choices"][0]["token_ids"]
        assert shown["tokens"][: len(ids)] == ids
