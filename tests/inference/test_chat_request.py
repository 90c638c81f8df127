"""What goes over the wire, and that nothing of the caller's is changed on the way."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.inference.chat_request import (
    MALFORMED_ARGUMENTS,
    ChatFormat,
    chat_body,
    encode_body,
    wire_arguments,
    wire_messages,
)
from rollway.inference.errors import BadRequest
from rollway.inference.protocol import CompletionRequest, Sampling
from rollway.inference.sampling_fields import NEUTRAL

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def assistant(*arguments: Any, **fields: Any) -> dict[str, Any]:
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": "add", "arguments": text}}
        for i, text in enumerate(arguments)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, **fields}


def sent_arguments(message: dict[str, Any]) -> list[Any]:
    return [
        call["function"]["arguments"]
        for call in wire_messages([message], "reasoning_content")[0]["tool_calls"]
    ]


@pytest.mark.parametrize(
    "raw", ['{"a": 1', "[1]", "null", '"x"', "NaN", '{"a": NaN}', "add 1 and 2", "{'a': 1}", '{"a": 1,}']
)
def test_arguments_that_are_no_json_object_are_sent_wrapped_with_their_raw_text(raw: str) -> None:
    assert json.loads(sent_arguments(assistant(raw))[0]) == {MALFORMED_ARGUMENTS: raw}


@pytest.mark.parametrize("raw", ['{"a": 1}', "{}", ' {"a" :1}\n', '{"a": {"b": [1, "ü"]}}'])
def test_arguments_that_are_a_json_object_are_sent_to_the_letter(raw: str) -> None:
    assert sent_arguments(assistant(raw)) == [raw]


@pytest.mark.parametrize("nothing", [None, ""])
def test_absent_arguments_are_sent_as_an_empty_object(nothing: str | None) -> None:
    assert sent_arguments(assistant(nothing)) == ["{}"]


def test_arguments_as_an_object_are_sent_as_its_json_and_not_encoded_twice() -> None:
    assert sent_arguments(assistant({"a": 1}, [1])) == ['{"a":1}', '{"malformed_arguments":"[1]"}']


@given(st.text() | JSON | JSON.map(json.dumps))
def test_whatever_the_model_wrote_every_server_can_read_what_is_sent(arguments: Any) -> None:
    assert isinstance(json.loads(wire_arguments(arguments)), dict)


@given(
    st.lists(st.text(max_size=20) | JSON.map(json.dumps), max_size=3),
    st.sampled_from(["reasoning_content", "reasoning", "none"]),
    st.dictionaries(st.sampled_from(["reasoning", "reasoning_content"]), st.none() | st.text(max_size=5)),
)
def test_the_callers_messages_are_never_changed(arguments: Any, field: Any, reasoning: Any) -> None:
    messages = [{"role": "user", "content": "hi"}, assistant(*arguments, **reasoning)]
    before = copy.deepcopy(messages)
    encode_body(chat_body(CompletionRequest(messages=messages), "m", ChatFormat(history_reasoning=field)))
    assert messages == before


def test_a_message_that_needs_no_change_is_not_copied() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        assistant('{"a": 1}', reasoning_content="hm"),
        {"role": "tool", "tool_call_id": "c0", "content": "1"},
    ]
    assert all(
        new is old for new, old in zip(wire_messages(messages, "reasoning_content"), messages, strict=True)
    )


@pytest.mark.parametrize("given_as", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("sent_as", ["reasoning", "reasoning_content"])
def test_reasoning_in_history_is_sent_under_the_name_that_was_chosen(given_as: str, sent_as: Any) -> None:
    message = {"role": "assistant", "content": "7", given_as: "3 + 4"}
    assert wire_messages([message], sent_as) == [{"role": "assistant", "content": "7", sent_as: "3 + 4"}]


def test_reasoning_in_history_can_be_left_out() -> None:
    message = {"role": "assistant", "content": "7", "reasoning": "x", "reasoning_content": "x"}
    assert wire_messages([message], "none") == [{"role": "assistant", "content": "7"}]


def test_reasoning_under_both_names_is_sent_once() -> None:
    message = {"role": "assistant", "content": "7", "reasoning": "x", "reasoning_content": None}
    assert wire_messages([message], "reasoning_content") == [
        {"role": "assistant", "content": "7", "reasoning_content": "x"}
    ]


def test_an_empty_list_of_calls_is_left_out() -> None:
    assert wire_messages([assistant()], "none") == [{"role": "assistant", "content": None}]


def test_what_shapes_the_distribution_is_sent_though_it_is_not_said() -> None:
    form = ChatFormat(logprobs=False, return_token_ids=False)
    body = chat_body(CompletionRequest(messages=[]), "m", form)
    assert body == {
        "model": "m",
        "messages": [],
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }


def test_unset_sampling_fields_are_left_to_a_server_that_is_to_choose() -> None:
    form = ChatFormat(logprobs=False, return_token_ids=False)
    request = CompletionRequest(messages=[], sampling=Sampling(top_p=0.5, defaults="server"))
    assert chat_body(request, "m", form) == {"model": "m", "messages": [], "top_p": 0.5}


def test_sampling_goes_into_the_request_and_extra_stands_over_it() -> None:
    sampling = Sampling(
        temperature=0.0,
        top_p=0.9,
        top_k=5,
        max_tokens=7,
        stop=["x"],
        seed=0,
        extra={"top_p": 0.5, "min_p": 0.1},
    )
    request = CompletionRequest(messages=[], tools=[{"type": "function"}], sampling=sampling)
    assert chat_body(request, "m", ChatFormat(max_tokens_field="max_completion_tokens")) == {
        "model": "m",
        "messages": [],
        "tools": [{"type": "function"}],
        **NEUTRAL,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 5,
        "max_completion_tokens": 7,
        "stop": ["x"],
        "seed": 0,
        "min_p": 0.1,
        "logprobs": True,
        "return_token_ids": True,
    }


@pytest.mark.parametrize("value", [object(), "\ud800", {(1, 2): 3}])
def test_what_json_cannot_say_is_refused_in_one_line(value: Any) -> None:
    request = CompletionRequest(messages=[{"role": "user", "content": value}])
    with pytest.raises(BadRequest, match="cannot write the request as JSON") as raised:
        encode_body(chat_body(request, "m", ChatFormat()))
    assert "\n" not in str(raised.value)
