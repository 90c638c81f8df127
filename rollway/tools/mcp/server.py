"""What an MCP server is to a run: how to reach it, who shares it, and how long to wait for it. Data only.

Values of ``env`` and ``headers`` may name local variables, ``${TOKEN}``, which are looked up where the
server is started: so a secret never stands in a config.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Literal

import msgspec

from rollway.errors import UserError

Scope = Literal["worker", "rollout"]

_REFERENCE = re.compile(r"\$\{([^}]*)\}")


class McpServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server: a command that speaks MCP on its stdin and stdout, or the URL of a streamable HTTP one.

    Raises:
        ValueError: fields that do not go together.
    """

    name: str
    command: str | None = None  # a program; a bare name is looked up on PATH, then beside our Python
    args: list[str] = []
    env: dict[str, str] = {}  # variables of the command, beside PATH, HOME, LOGNAME, SHELL, TERM and USER
    directory: str | None = None  # that the command starts in; None is the current one
    url: str | None = None
    headers: dict[str, str] = {}  # of every request
    scope: Scope = "worker"  # one for all rollouts of a worker, or one for each rollout
    start_timeout: float = 30.0  # seconds until it has said which tools it has
    call_timeout: float = 60.0  # seconds of one call
    prefix: str = ""  # before the names of its tools
    tools: list[str] | None = None  # those of its tools that the model may have; None is all

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise ValueError(f"MCP server {self.name!r}: {problem}")


def _problem(server: McpServer) -> str:
    if not server.name:
        return "give it a name"
    if (server.command is None) == (server.url is None):
        return "give either a command (stdio) or a url (streamable HTTP)"
    if server.url is not None:
        if server.args or server.env or server.directory is not None:
            return "args, env and directory require a command; a url takes headers"
        if not server.url.startswith(("http://", "https://")):
            return f"the url must begin with http:// or https://, got {server.url!r}"
    elif server.headers:
        return "headers require a url; a command takes env"
    elif not server.command:
        return "the command is empty"
    for field in ("start_timeout", "call_timeout"):
        if not getattr(server, field) > 0:
            return f"{field} must be positive, got {getattr(server, field)}"
    return ""


def check_mcp_servers(servers: Iterable[McpServer], environment: Mapping[str, str] | None = None) -> None:
    """Look, without starting anything, whether the servers can be started here.

    Args:
        environment: variables that ``${NAME}`` stands for; ``None`` is the process's own.

    Raises:
        UserError: the extra is not installed, two servers have one name, a command is not there, or a
            variable is not set.
    """
    servers = list(servers)
    refuse_same_names(servers)
    if servers:
        require_extra()
    for server in servers:
        expanded(server, server.env | server.headers, environment)
        if server.command is not None:
            find_command(server)


def require_extra() -> None:
    """See that the packages of the extra ``mcp`` can be imported.

    Raises:
        UserError: one is missing, or older than 2.0.
    """
    try:
        import_module("httpx2")
        sdk = import_module("mcp")
    except ImportError as error:
        why = f"no package {error.name!r}"
    else:
        why = "" if hasattr(sdk, "Client") else "only a package 'mcp' older than 2.0"
    if why:
        raise UserError(f"MCP servers need an extra, and there is {why}: pip install 'rollway[mcp]'")


def refuse_same_names(servers: Iterable[McpServer]) -> None:
    """See that no two servers have one name.

    Raises:
        UserError: two do.
    """
    names: set[str] = set()
    for server in servers:
        if server.name in names:
            raise UserError(f"two MCP servers are named {server.name!r}; names must be unique")
        names.add(server.name)


def find_command(server: McpServer) -> str:
    """The path of the server's program.

    Raises:
        UserError: there is none, it is no program, or a variable that stands in its PATH is not set.
    """
    command = server.command
    assert command is not None
    if server.directory is not None and not Path(server.directory).is_dir():
        raise UserError(f"MCP server {server.name!r}: no folder {server.directory}")
    if os.sep in command:
        path = Path(server.directory or ".", command).absolute()
        if not path.is_file() or not os.access(path, os.X_OK):
            raise UserError(f"MCP server {server.name!r}: {command} is not an executable program")
        return str(path)
    path_variable = expanded(server, server.env).get("PATH")
    found = shutil.which(command, path=path_variable) or shutil.which(
        command, path=str(Path(sys.executable).parent)
    )
    if found is None:
        raise UserError(
            f"MCP server {server.name!r}: command {command!r} not found on PATH or beside {sys.executable}; "
            "install it, or give its full path"
        )
    return os.path.abspath(found)


def expanded(
    server: McpServer, values: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """``values`` with each ``${NAME}`` replaced by the variable.

    Raises:
        UserError: a variable is not set.
    """
    variables = os.environ if environment is None else environment

    def look_up(match: re.Match[str]) -> str:
        value = variables.get(match[1])
        if value is None:
            raise UserError(f"MCP server {server.name!r}: the environment variable {match[1]!r} is not set")
        return value

    return {name: _REFERENCE.sub(look_up, value) for name, value in values.items()}
