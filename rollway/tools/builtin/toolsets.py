"""The built-in tools by name, for environments and configs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from rollway.errors import UserError, nearest
from rollway.tools.builtin.files import file_tools
from rollway.tools.builtin.http_get import http_get_tool
from rollway.tools.builtin.python import python_tool
from rollway.tools.builtin.session import DEFAULT_TIMEOUT
from rollway.tools.builtin.submit import submit_tool
from rollway.tools.builtin.terminal import terminal_tool
from rollway.tools.builtin.todo import todo_tool
from rollway.tools.definition import Tool

_MAKERS: dict[str, Callable[[float], tuple[Tool, ...]]] = {  # from seconds of a call to tools
    "terminal": lambda timeout: (terminal_tool(timeout=timeout),),
    "python": lambda timeout: (python_tool(timeout=timeout),),
    "files": lambda timeout: file_tools(),
    "todo": lambda timeout: (todo_tool(),),
    "submit": lambda timeout: (submit_tool(),),
}

TOOLSETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "terminal": ("terminal",),
        "python": ("python",),
        "files": ("read_file", "write_file", "edit_file", "list_files", "search_files"),
        "todo": ("todo",),
        "submit": ("submit",),
    }
)
"""The names of the tools in each set."""


def toolset(name: str, *, timeout: float = DEFAULT_TIMEOUT) -> tuple[Tool, ...]:
    """The tools of one set.

    Args:
        timeout: seconds of one call of ``terminal`` or ``python``.

    Raises:
        UserError: there is no such set.
    """
    if name not in _MAKERS:
        raise UserError(f"unknown toolset {name!r}{nearest(name, _MAKERS)}; available: {', '.join(_MAKERS)}")
    return _MAKERS[name](timeout)


def builtin_tools(
    names: Iterable[str], *, http_hosts: Iterable[str] = (), timeout: float = DEFAULT_TIMEOUT
) -> tuple[Tool, ...]:
    """The tools of several sets, in order and each once.

    Args:
        names: sets, or single tools of them.
        http_hosts: hosts that ``http_get`` may fetch; without any there is no such tool, and with some there
            is, named or not.
        timeout: seconds of one call of ``terminal`` or ``python``, if `Limits.tool_timeout` leaves as many.

    Raises:
        UserError: a name is neither a set nor a tool, or a host is none.
    """
    if isinstance(names, str):
        names = [names]
    homes = {single: name for name, members in TOOLSETS.items() for single in members}
    hosts = [http_hosts] if isinstance(http_hosts, str) else list(http_hosts)
    tools: dict[str, Tool] = {}
    for name in names:
        if name == "http_get" and hosts:
            continue
        if name not in TOOLSETS and name not in homes:
            raise UserError(_unknown(name, homes))
        for entry in toolset(name if name in TOOLSETS else homes[name], timeout=timeout):
            if name in TOOLSETS or entry.name == name:
                tools.setdefault(entry.name, entry)
    if hosts:
        tools["http_get"] = http_get_tool(hosts)
    return tuple(tools.values())


def _unknown(name: str, singles: Iterable[str]) -> str:
    if name == "http_get":
        return "http_get requires hosts: http_hosts=['example.com']"
    known = dict.fromkeys([*TOOLSETS, *singles])
    return f"unknown built-in tool or toolset {name!r}{nearest(name, known)}; available: {', '.join(known)}"
