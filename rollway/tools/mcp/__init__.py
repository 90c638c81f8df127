"""MCP servers as sources of tools."""

from rollway.tools.mcp.connection import McpServerFailed
from rollway.tools.mcp.server import McpServer, check_mcp_servers
from rollway.tools.mcp.source import McpSource, open_mcp, open_mcp_servers, with_mcp_tools

__all__ = [
    "McpServer",
    "McpServerFailed",
    "McpSource",
    "check_mcp_servers",
    "open_mcp",
    "open_mcp_servers",
    "with_mcp_tools",
]
