"""MCP servers as sources of tools."""

from rollway.tools.mcp.connection import McpServerFailed
from rollway.tools.mcp.listing import (
    ListedTool,
    RecordedSource,
    ToolSource,
    decode_tool_list,
    encode_tool_list,
    recorded_source,
)
from rollway.tools.mcp.server import McpServer, check_mcp_servers, refuse_same_names
from rollway.tools.mcp.source import McpSource, open_mcp, open_mcp_servers, with_mcp_tools

__all__ = [
    "ListedTool",
    "McpServer",
    "McpServerFailed",
    "McpSource",
    "RecordedSource",
    "ToolSource",
    "check_mcp_servers",
    "decode_tool_list",
    "encode_tool_list",
    "open_mcp",
    "open_mcp_servers",
    "recorded_source",
    "refuse_same_names",
    "with_mcp_tools",
]
