"""Tools: functions that a model may call, and everything that happens between its call and its answer."""

from rollway.tools.arguments import InvalidArguments
from rollway.tools.definition import Tool, ToolFailed, ToolOutput, tool
from rollway.tools.registry import ToolRegistry

__all__ = ["InvalidArguments", "Tool", "ToolFailed", "ToolOutput", "ToolRegistry", "tool"]
