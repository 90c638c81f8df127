"""Lists of tools that are kept, and the tools that are made of them without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.errors import UserError
from rollway.tools.mcp import (
    ListedTool,
    McpServer,
    decode_tool_list,
    encode_tool_list,
    open_mcp_servers,
    recorded_source,
    with_mcp_tools,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
LISTED = st.builds(ListedTool, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=4))


@given(st.lists(LISTED, max_size=4))
def test_a_list_is_read_back_to_the_letter(listed: list[ListedTool]) -> None:
    again = decode_tool_list(encode_tool_list(listed))
    assert again == listed
    for was, now in zip(listed, again, strict=True):  # types and the order of keys, which == does not see
        assert json.dumps(now.input_schema) == json.dumps(was.input_schema)


async def test_the_tools_of_a_list_are_those_of_the_server_that_gave_it() -> None:
    server = McpServer(name="time", command="mcp-server-time", prefix="time_", tools=["convert_time"])
    async with open_mcp_servers([server]) as [live]:
        listed = decode_tool_list(encode_tool_list(live.listed))
        recorded = recorded_source(server, listed)
        assert [tool.name for tool in listed] == ["get_current_time", "convert_time"]
        assert [json.dumps(tool.definition()) for tool in recorded.tools] == [
            json.dumps(tool.definition()) for tool in live.tools
        ]
    with pytest.raises(Exception, match="missing 'source_timezone', 'time', 'target_timezone'"):
        recorded.tools[0].bind("{}")
    with pytest.raises(RuntimeError, match="MCP server 'time' was recorded but not started"):
        await recorded.tools[0](time="12:00")
    with pytest.raises(UserError, match="environment 'x' and MCP server 'time' both have a tool named"):
        with_mcp_tools(recorded.tools, [recorded], "environment 'x'")


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ([("a", {}), ("a", {})], "MCP server 'raw' has two tools named 'a'"),
        ([("b", {})], "MCP server 'raw' has no tool 'a'"),
        ([("a", {"type": "array"})], "MCP server 'raw': tool 'a': the parameters must be a JSON schema"),
    ],
)
def test_a_list_that_makes_no_tools_is_refused_as_a_server_is(
    raw: Callable[..., McpServer], listed: list[tuple[str, dict[str, Any]]], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        recorded_source(raw(tools=["a"]), [ListedTool(name, "", schema) for name, schema in listed])
