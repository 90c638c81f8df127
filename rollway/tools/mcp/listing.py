"""The tools that a server lists, and the `Tool`s that are made of them.

A list is equal when it is read back, so that the tools of one that was kept are those of the server that gave
it: to the model, to the rules and to the checks of arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from rollway.errors import UserError, nearest
from rollway.tools.definition import Tool
from rollway.tools.mcp.server import McpServer


class ListedTool(msgspec.Struct, frozen=True):
    """One tool in the server's own words: without the prefix, and also where the run leaves it out."""

    name: str
    description: str
    input_schema: dict[str, Any]  # JSON schema of the arguments


class ToolSource(Protocol):
    """A server's tools, as a run has them."""

    @property
    def server(self) -> McpServer: ...
    @property
    def tools(self) -> list[Tool]: ...


class RecordedSource(msgspec.Struct, frozen=True):
    """The tools of a server that is not there. Made by `recorded_source`."""

    server: McpServer
    tools: list[Tool]


_DECODER = msgspec.json.Decoder(list[ListedTool])


def encode_tool_list(listed: Sequence[ListedTool]) -> bytes:
    """As JSON. Equal lists are equal bytes; the order of tools, and of the keys of a schema, is kept."""
    return msgspec.json.encode(listed)


def decode_tool_list(data: bytes) -> list[ListedTool]:
    """Read back what `encode_tool_list` wrote.

    Raises:
        msgspec.DecodeError: it is no list of tools.
    """
    return _DECODER.decode(data)


def recorded_source(server: McpServer, listed: Sequence[ListedTool]) -> RecordedSource:
    """What `open_mcp` would give where the server lists ``listed``, but nothing is started or called.

    Raises:
        UserError: as `open_mcp`, of tools that cannot be used.
    """

    def function(name: str) -> Callable[..., Any]:
        async def call(**arguments: Any) -> Any:
            raise RuntimeError(
                f"MCP server {server.name!r} was recorded but not started: {name} cannot be called"
            )

        return call

    return RecordedSource(server, make_tools(server, listed, function))


def make_tools(
    server: McpServer, listed: Sequence[ListedTool], function: Callable[[str], Callable[..., Any]]
) -> list[Tool]:
    """Those of the listed tools that the run wants, under the names that it gives them.

    Args:
        function: gives what a call of the server's tool of a name runs.

    Raises:
        UserError: one that is wanted is not listed, two have one name, or a name or a schema is none.
    """
    names = [tool.name for tool in listed]
    for name in server.tools or ():
        if name not in names:
            raise UserError(f"MCP server {server.name!r} has no tool {name!r}{nearest(name, names)}")
    tools: dict[str, Tool] = {}
    for tool in listed:
        if server.tools is not None and tool.name not in server.tools:
            continue
        if tool.name in tools:
            raise UserError(f"MCP server {server.name!r} has two tools named {tool.name!r}")
        try:
            tools[tool.name] = Tool.from_schema(
                server.prefix + tool.name, tool.description, tool.input_schema, function(tool.name)
            )
        except ValueError as error:
            raise UserError(
                f"MCP server {server.name!r}: {error}; exclude the tool by listing the others under tools"
            ) from None
    return list(tools.values())
