"""Results of MCP tools as text."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import CallToolResult

from rollway.tools import ToolOutput
from rollway.tools.mcp.content import read_result


def told(content: list[Any], **fields: Any) -> ToolOutput:
    return read_result(CallToolResult.model_validate({"content": content, **fields}))


@pytest.mark.parametrize(
    ("content", "fields", "text"),
    [
        ([], {}, ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], {}, "a\nb"),
        ([], {"structuredContent": {"x": [1, None, "ü"]}}, '{"x":[1,null,"ü"]}'),
        ([{"type": "text", "text": "7"}], {"structuredContent": {"result": 7}}, "7"),
        (
            [{"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}],
            {"structuredContent": {"seconds": 1}},
            '[a sound, audio/wav, 3 bytes: not shown]\n{"seconds":1}',
        ),
    ],
)
def test_everything_that_can_be_told_is_told_once(content: list[Any], fields: Any, text: str) -> None:
    assert told(content, **fields) == ToolOutput(text)


def test_what_the_server_calls_an_error_is_one_even_without_words() -> None:
    assert told([{"type": "text", "text": "no"}], isError=True) == ToolOutput("no", ok=False)
    assert told([], isError=True) == ToolOutput("Error: the tool failed without an error message", ok=False)


@given(st.binary(max_size=50))
def test_the_size_of_what_is_not_shown_is_right(data: bytes) -> None:
    image = {"type": "image", "data": base64.b64encode(data).decode(), "mimeType": "image/png"}
    assert f" {len(data)} bytes: not shown]" in told([image]).content
