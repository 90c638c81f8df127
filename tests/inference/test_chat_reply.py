"""Every shape of reply, read into one record, to the letter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted_server import reply

from rollway.inference.chat_reply import read_chat_reply
from rollway.inference.errors import BadRequest, InferenceError, InvalidReply, ServerOverloaded
from rollway.inference.protocol import Completion
from rollway.inference.tries import TryFailed
from rollway.trajectory import ToolCall, Usage


def read(body: Any) -> Completion:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_chat_reply(raw, server="http://s", model="m")


def plain(**changes: Any) -> dict[str, Any]:
    return {
        "choices": [{"message": {"role": "assistant", "content": "7"}, "finish_reason": "stop", **changes}]
    }


def with_message(**fields: Any) -> dict[str, Any]:
    return plain(message={"role": "assistant", "content": None, **fields})


def failure(body: Any) -> InferenceError:
    with pytest.raises(TryFailed) as raised:
        read(body)
    assert "\n" not in str(raised.value)
    return raised.value.error


def test_vllm_reply_gives_ids_logprobs_prompt_ids_and_usage() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
    got = read(reply("7", token_ids=[4, 5], logprobs=[-0.5, 0], prompt_token_ids=[1, 2, 3], usage=usage))
    assert (got.token_ids, got.logprobs, got.prompt_token_ids) == ([4, 5], [-0.5, 0.0], [1, 2, 3])
    assert got.usage == Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1)
    assert (got.content, got.finish_reason, got.model, got.server) == ("7", "stop", "scripted", "http://s")


def test_sglang_reply_gives_ids_on_the_choice_and_the_weight_version_in_metadata() -> None:
    body = plain(prompt_token_ids=[1, 2], response_token_ids=[3], matched_stop=3)
    got = read({**body, "metadata": {"weight_version": "step-7"}})
    assert (got.prompt_token_ids, got.token_ids, got.weight_version) == ([1, 2], [3], "step-7")


@pytest.mark.parametrize(("value", "expected"), [("v1", "v1"), (12, "12"), (None, None)])
def test_a_weight_version_at_the_top_is_read(value: Any, expected: str | None) -> None:
    assert read({**plain(), "weight_version": value}).weight_version == expected


def test_what_the_server_does_not_say_stays_none() -> None:
    got = read(plain())
    assert (
        got.token_ids is got.logprobs is got.prompt_token_ids is got.weight_version is got.reasoning is None
    )
    assert got.usage == Usage()
    assert got.usage.cached_tokens is None


def test_ids_and_logprobs_of_different_lengths_are_kept_as_they_came() -> None:
    got = read(reply("7", token_ids=[4, 5, 6], logprobs=[-0.5], prompt_token_ids=[1]))
    assert (got.token_ids, got.logprobs) == ([4, 5, 6], [-0.5])


TWO_DETAILS = [{"type": "reasoning.text", "text": "h"}, {"type": "reasoning.summary", "summary": "m"}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning": "hm"}, "hm"),
        ({"reasoning_content": "hm"}, "hm"),
        ({"reasoning_details": TWO_DETAILS}, "hm"),
        ({}, None),
        ({"reasoning": None, "reasoning_content": None}, None),
        ({"reasoning": "", "reasoning_content": "hm"}, "hm"),
        ({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, "hm"),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "xx"}]}, None),
    ],
)
def test_reasoning_is_read_in_all_its_shapes(fields: dict[str, Any], expected: str | None) -> None:
    assert read(with_message(**fields)).reasoning == expected


@pytest.mark.parametrize("raw", ['{"a": 1}', '{"a": 1', "", "null", "[1]", 'ü " \\ \n'])
def test_an_arguments_string_is_kept_to_the_letter(raw: str) -> None:
    body = with_message(
        tool_calls=[{"id": "c", "type": "function", "function": {"name": "f", "arguments": raw}}]
    )
    assert read(body).tool_calls == [ToolCall("c", "f", raw)]


def test_object_arguments_are_the_very_json_that_the_server_sent() -> None:
    body = json.dumps(with_message(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "HERE"}}]))
    raw = '{"b" : 1.50,  "a": [ null ]}'
    assert read(body.replace('"HERE"', raw).encode()).tool_calls == [ToolCall("c", "f", raw)]


@pytest.mark.parametrize(
    "call",
    [
        {"id": None, "function": {"name": None, "arguments": None}},
        {"id": "", "function": {"name": ""}},
        {"function": {}},
        {"function": None},
        {},
    ],
)
def test_a_call_with_parts_missing_is_still_a_call(call: dict[str, Any]) -> None:
    assert read(with_message(tool_calls=[call])).tool_calls == [ToolCall("", "", "")]


@pytest.mark.parametrize("fields", [{}, {"tool_calls": None}, {"tool_calls": []}])
def test_absent_null_and_empty_calls_are_no_calls(fields: dict[str, Any]) -> None:
    assert read(with_message(**fields)).tool_calls == []


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read(with_message(content=parts)).content == "ab"


def test_null_and_empty_content_are_told_apart() -> None:
    assert read(with_message(content=None)).content is None
    assert read(with_message(content="")).content == ""


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "abort", "repetition"])
def test_the_finish_reason_is_the_servers_word(reason: str) -> None:
    assert read(plain(finish_reason=reason)).finish_reason == reason


def test_a_missing_finish_reason_is_empty() -> None:
    assert read(plain(finish_reason=None)).finish_reason == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>nginx</html>",
        b'{"choices": [',
        b'"text"',
        b"\xff\xfe",
        b'{"choices": [{"message": {"tool_calls": [{"function": {"arguments": "\\ud800"}}]}}]}',
        b"data: {}\n\ndata: [DONE]\n\n",
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        plain(token_ids=["x"]),
        with_message(content={"what": 1}),
        with_message(tool_calls=["f"]),
        with_message(tool_calls=[{"function": "f"}]),
    ],
)
def test_what_is_no_chat_completion_is_an_invalid_reply(body: Any) -> None:
    assert isinstance(failure(body), InvalidReply)


def test_more_than_one_choice_is_refused_instead_of_dropped() -> None:
    body = plain()
    error = failure({"choices": body["choices"] * 2})
    assert isinstance(error, InvalidReply)
    assert "sent 2 choices" in str(error)


def test_an_error_inside_a_200_is_that_error() -> None:
    error = failure({"error": {"message": "upstream is down", "code": 502}})
    assert isinstance(error, ServerOverloaded)
    assert "upstream is down" in str(error)
    assert isinstance(failure({"error": {"message": "bad temperature", "code": 400}}), BadRequest)
