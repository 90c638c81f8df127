"""Which error a server's answer means, for every wording that was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.inference.errors import (
    BadRequest,
    ContextOverflow,
    InferenceError,
    ModelNotFound,
    ServerOverloaded,
)
from rollway.inference.faults import failed_try, name_list, one_line, read_fault
from rollway.inference.tries import TryFailed

OVERFLOWS = [
    # vLLM 0.32
    "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 "
    "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of "
    "the input prompt.",
    "This model's maximum context length is 64 tokens. However, your prompt contains 9000 characters "
    "(more than 4096 characters, which is the upper bound for 64 input tokens). Please reduce the "
    "length of the input prompt.",
    "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
    "The decoder prompt (length 2100) is longer than the maximum model length of 2048. Make sure that "
    "`max_model_len` is no smaller than the number of text tokens.",
    "The decoder prompt (length 2048) plus the number of requested output tokens (at least 1) is longer "
    "than the maximum model length of 2048. Make sure that `max_model_len` is no smaller than the "
    "number of text tokens (prompt + requested output tokens).",
    "Input length (2100) exceeds model's maximum context length (2048).",
    # older vLLM
    "'max_tokens' or 'max_completion_tokens' is too large: 300. This model's maximum context length is "
    "2048 tokens and your request has 1900 input tokens (300 > 2048 - 1900).",
    # SGLang
    "The input (2100 tokens) is longer than the model's context length (2048 tokens).",
    "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a "
    "total of 2100 tokens: 2000 tokens from the input messages and 100 tokens for the completion.",
    # llama.cpp
    "the request exceeds the available context size, try increasing it",
]


def nested(message: str, code: Any = 400, kind: str = "BadRequestError") -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def flat(message: str, code: Any = 400) -> bytes:
    return json.dumps(
        {"object": "error", "message": message, "type": "BadRequest", "param": None, "code": code}
    ).encode()


def failure(status: int, body: bytes, headers: dict[str, str] | None = None, **asked: Any) -> TryFailed:
    return failed_try(status, body, headers or {}, server="http://s:1", model="qwen", **asked)


def error(status: int, body: bytes, **asked: Any) -> InferenceError:
    return failure(status, body, **asked).error


@pytest.mark.parametrize(
    "shape", [nested, flat, lambda text: json.dumps({"error": text}).encode(), str.encode]
)
@pytest.mark.parametrize("wording", OVERFLOWS)
def test_a_full_context_is_an_overflow_in_every_wording_and_shape_and_never_tried_again(
    wording: str, shape: Any
) -> None:
    failed = failure(400, shape(wording))
    assert type(failed.error) is ContextOverflow
    assert failed.error.status == 400
    assert not failed.retry


def test_openais_code_is_an_overflow_whatever_the_words() -> None:
    assert type(error(400, nested("Too much.", code="context_length_exceeded"))) is ContextOverflow


def test_an_overflow_is_not_retried_even_as_a_500() -> None:
    failed = failure(500, nested(OVERFLOWS[-1], code=500))
    assert type(failed.error) is ContextOverflow
    assert not failed.retry


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("max_tokens must be at least 1, got 0.", 0),
        ("max_tokens must be at least 1, got -3.", -3),
        (
            "max_tokens=5000 cannot be greater than max_model_len=2048. Please request fewer output tokens.",
            5000,
        ),
        ("temperature must be non-negative, got -1.0.", None),
    ],
)
def test_a_foolish_request_is_not_taken_for_a_full_context(message: str, asked: int | None) -> None:
    refused = error(400, nested(message, kind="Bad Request"), max_tokens=asked)
    assert type(refused) is BadRequest
    assert message in str(refused)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_overload_and_failures_of_the_server_are_tried_again(status: int) -> None:
    failed = failure(status, nested("The engine is currently busy, please retry later.", code=status))
    assert type(failed.error) is ServerOverloaded
    assert failed.retry
    assert failed.error.status == status
    assert str(status) in str(failed.error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 415, 422, 301, 307])
def test_no_other_status_is_tried_again(status: int) -> None:
    failed = failure(status, nested("no", code=status), {"Retry-After": "1"})
    assert not failed.retry
    assert type(failed.error) is BadRequest


def test_a_429_that_names_a_token_limit_is_overload() -> None:
    assert (
        type(error(429, nested("Rate limit reached: maximum context length per minute"))) is ServerOverloaded
    )


def test_retry_after_is_read() -> None:
    assert failure(503, b"", {"Retry-After": "7"}).retry_after == 7.0
    assert failure(503, b"").retry_after is None


@pytest.mark.parametrize("suffix", ["", " (parameter=model, value=qwen)"])
def test_an_unknown_model_names_those_that_vllm_serves_and_the_nearest(suffix: str) -> None:
    message = f"The model `qwen` does not exist. Valid aliases: llama, qwen3, tiny.{suffix}"
    missing = error(404, nested(message, code=404, kind="NotFoundError"))
    assert type(missing) is ModelNotFound
    assert str(missing) == (
        "http://s:1 does not serve model 'qwen' (did you mean 'qwen3'?); available: llama, qwen3, tiny"
    )


@pytest.mark.parametrize(
    "body",
    [
        nested("The model `qwen` does not exist or you do not have access to it.", code="model_not_found"),
        nested("model 'qwen' not found, try pulling it first"),
        flat("Model not found: qwen", code=404),
        nested("", code="model_not_found"),
    ],
)
def test_an_unknown_model_is_recognised_without_a_list(body: bytes) -> None:
    missing = error(404, body)
    assert type(missing) is ModelNotFound
    assert "'qwen'" in str(missing)


def test_a_404_for_the_path_is_about_the_address() -> None:
    missing = error(404, b'{"detail":"Not Found"}')
    assert type(missing) is BadRequest
    assert "Not Found" in str(missing)
    assert "base_url" in str(missing)


def test_a_refused_key_says_what_to_pass() -> None:
    assert "api_key" in str(error(401, nested("Incorrect API key provided")))


def test_a_redirect_says_where_to() -> None:
    moved = failure(307, b"", {"Location": "https://s:1/v1"}).error
    assert "https://s:1/v1" in str(moved)
    assert "base_url" in str(moved)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b"<html>\n<h1>502</h1>\n</html>", "<html> <h1>502</h1> </html>"),
        (b'{"detail": [{"loc": ["body"], "msg": "bad"}]}', '[{"loc":["body"],"msg":"bad"}]'),
        (b'{"error": "overloaded"}', "overloaded"),
        (b'["x"]', '["x"]'),
        (b"null", "null"),
        (b'{"error": {"message": null}}', ""),
    ],
)
def test_faults_of_any_shape_are_read(body: bytes, message: str) -> None:
    assert read_fault(body).message == message


@given(
    st.sampled_from([200, 302, 400, 404, 429, 500, 503]),
    st.binary(max_size=60) | st.text(max_size=60).map(nested),
)
def test_whatever_a_server_answers_becomes_one_line(status: int, body: bytes) -> None:
    assert "\n" not in str(error(status, body))


def test_a_long_text_of_a_server_is_cut() -> None:
    assert len(one_line("x " * 5000)) == 500


def test_a_long_list_of_names_is_cut() -> None:
    assert name_list([f"m{i}" for i in range(10)]) == "m0, m1, m2, m3, m4, m5, m6, m7 and 2 more"
