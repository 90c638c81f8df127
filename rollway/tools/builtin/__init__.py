"""Tools that come with the project: a shell, an interpreter, files, a to-do list, the web, an answer."""

from rollway.tools.builtin.files import file_tools
from rollway.tools.builtin.http_get import http_get_tool
from rollway.tools.builtin.python import python_tool
from rollway.tools.builtin.submit import submit_tool, submitted_answer
from rollway.tools.builtin.terminal import terminal_tool
from rollway.tools.builtin.todo import todo_tool
from rollway.tools.builtin.toolsets import TOOLSETS, builtin_tools, toolset

__all__ = [
    "TOOLSETS",
    "builtin_tools",
    "file_tools",
    "http_get_tool",
    "python_tool",
    "submit_tool",
    "submitted_answer",
    "terminal_tool",
    "todo_tool",
    "toolset",
]
