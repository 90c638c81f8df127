"""A server made with the SDK, for streamable HTTP: python sdk_server.py PORT."""

from __future__ import annotations

import os
import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("own")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def pid() -> int:
    return os.getpid()


@server.tool()
async def slow(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "at last"


@server.tool()
def fail() -> str:
    raise ToolError("it is the wrong day")


@server.tool()
def who(ctx: Context) -> str:
    """The header of the request."""
    return (ctx.headers or {}).get("x-who", "nobody")


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]))
