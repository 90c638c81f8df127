"""What is kept of requests and replies, and that no key is in it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from rollway.inference.exchanges import ExchangeLog


def logged(body: bytes, reply: bytes = b"{}", **headers: str) -> dict[str, Any]:
    log = ExchangeLog()
    with log.exchange("http://s", "/v1/chat/completions", "r-0", body, headers) as answer:
        answer.came(200, reply)
    (line,) = log.lines
    found: dict[str, Any] = json.loads(line)
    return found


def test_what_stands_in_the_headers_as_a_key_is_replaced_wherever_it_stands() -> None:
    found = logged(
        b'{"messages":[{"content":"my key is sk-12345678"}]}',
        b"bad key sk-12345678",
        Authorization="Bearer sk-12345678",
    )
    assert found["request"]["messages"][0]["content"] == "my key is ***"
    assert found["reply"] == "bad key ***"


@pytest.mark.parametrize("name", ["api_key", "apiKey", "x-api-key", "Authorization", "access_token"])
def test_a_field_that_is_named_like_a_key_is_replaced_at_any_depth(name: str) -> None:
    found = logged(json.dumps({"extra": [{name: "s", "top_k": 3}]}).encode())
    assert found["request"] == {"extra": [{name: "***", "top_k": 3}]}


def test_a_tools_parameter_of_such_a_name_and_a_number_of_tokens_stay() -> None:
    body = {"tools": [{"properties": {"api_key": {"type": "string"}}}], "max_tokens": 5, "stop_token": "x"}
    assert logged(json.dumps(body).encode())["request"] == body


def test_a_placeholder_for_a_key_is_no_secret() -> None:
    assert logged(b'{"messages":["EMPTY"]}', b"EMPTY", Authorization="Bearer EMPTY")["reply"] == "EMPTY"


def test_a_body_is_kept_to_the_letter() -> None:
    assert logged(b"{}", b'{"a" :1 ,\xff\n')["reply"] == '{"a" :1 ,\\xff\n'


async def test_a_request_that_was_given_up_is_kept_with_the_reason() -> None:
    log = ExchangeLog()
    with pytest.raises(asyncio.CancelledError):
        with log.exchange("http://s", "/", "r-0", b"{}", {}):
            raise asyncio.CancelledError
    found = json.loads(log.lines[0])
    assert (found["error"], found.get("status")) == ("CancelledError", None)
