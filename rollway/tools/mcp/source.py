"""The tools of one server, for any number of rollouts at a time, whatever becomes of the server.

A call that its server does not survive is an error of that call alone, in one line; the next call finds a new
server. A call that was given up raises the question whether the server still answers, and the next call waits
for the answer. Starts that fail are spaced out, and once too many have failed in a row, calls fail at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from rollway.errors import UserError
from rollway.tools.definition import Tool, ToolFailed, ToolOutput
from rollway.tools.mcp.connection import Connection, McpServerFailed, NoAnswer, connect
from rollway.tools.mcp.content import read_result
from rollway.tools.mcp.listing import ListedTool, ToolSource, make_tools
from rollway.tools.mcp.server import McpServer, check_mcp_servers, require_extra

PROBE_SECONDS = 5.0  # that a server has to show that it is alive
FIRST_DELAY, MOST_DELAY = 0.5, 30.0  # seconds before a start, from the second in a row on; doubled each time
MOST_FAILURES = 5  # in a row, before calls no longer wait for the next start

_log = logging.getLogger(__name__)


class McpSource:
    """A server's tools. Made by `open_mcp`; belongs to the event loop that it was made on. Close it."""

    def __init__(self, server: McpServer, connection: Connection) -> None:
        self.server = server
        self.listed = [
            ListedTool(tool.name, tool.description or "", tool.input_schema) for tool in connection.tools
        ]
        self.tools = make_tools(server, self.listed, self._function)
        self.restarts = 0
        self._connection = connection
        self._starting: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._failures = 0  # starts or servers that came to nothing, since a call was last answered
        self._next_start = 0.0  # not before; time.monotonic()
        self._problem = ""
        self._closed = False

    async def call(self, name: str, arguments: dict[str, Any]) -> ToolOutput:
        """Call the server's tool ``name`` (without the prefix).

        Raises:
            ToolFailed: the server refused the call.
            McpServerFailed: it ended, did not answer in time, or cannot be started again.
        """
        from mcp import MCPError

        connection = await self._connected()
        try:
            result = await connection.call(name, arguments, self.server.call_timeout)
        except (NoAnswer, asyncio.CancelledError):
            self._doubt(connection)
            raise
        except McpServerFailed:
            if connection.alive:  # a connection over HTTP has no end of its own
                self._doubt(connection)
            raise
        except MCPError as error:
            if self.server.url is not None:  # among the errors is "no such session" after a restart
                self._doubt(connection)
            raise ToolFailed(f"Error: MCP server {self.server.name!r} refused the call: {error}") from None
        except (ValueError, RuntimeError) as error:  # pydantic's, and of a result that breaks its own schema
            why = " ".join(str(error).split())[:500]
            raise McpServerFailed(
                f"MCP server {self.server.name!r} sent an unreadable answer: {why}"
            ) from None
        self._failures = 0
        return read_result(result)

    async def close(self) -> None:
        """End the server. Calls in flight fail. Closing twice is no fault."""
        self._closed = True
        tasks = [task for task in (self._starting, self._probing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._connection.close()

    def _function(self, name: str) -> Callable[..., Any]:
        async def call(**arguments: Any) -> ToolOutput:
            return await self.call(name, arguments)

        return call

    async def _connected(self) -> Connection:
        if self._probing is not None:
            await asyncio.wait((self._probing,))
        while not self._connection.alive:
            if self._closed:
                raise McpServerFailed(f"MCP server {self.server.name!r} was closed")
            wait = self._next_start - time.monotonic()
            if self._starting is None and self._failures >= MOST_FAILURES and wait > 0:
                raise McpServerFailed(f"{self._problem}; it restarts in {wait:.0f} s")
            if self._starting is None:
                self._starting = asyncio.create_task(self._start_again())
            starting = self._starting
            await asyncio.wait((starting,))  # whoever is cancelled here leaves the start to the others
            if not starting.cancelled() and (error := starting.exception()) is not None:
                raise McpServerFailed(str(error))
        return self._connection

    async def _start_again(self) -> None:
        try:
            await self._connection.close()
            self._failures += 1
            await asyncio.sleep(self._next_start - time.monotonic())
            delay = min(MOST_DELAY, FIRST_DELAY * 2 ** (self._failures - 1))
            self._next_start = time.monotonic() + delay
            try:
                self._connection = await connect(self.server)
            except (McpServerFailed, UserError) as error:
                self._problem = str(error)
                _log.warning("%s", error)
                raise
            self.restarts += 1
            _log.warning("MCP server %r restarted", self.server.name)
        finally:
            self._starting = None

    def _doubt(self, connection: Connection) -> None:
        """A call had no answer: let the next one find out whether there is still a server."""
        if self._probing is None and connection is self._connection and connection.alive and not self._closed:
            self._probing = asyncio.create_task(self._probe(connection))

    async def _probe(self, connection: Connection) -> None:
        try:
            if not await connection.answers(min(PROBE_SECONDS, self.server.start_timeout)):
                _log.warning("MCP server %r stopped answering", self.server.name)
                await connection.close("stopped answering")
        finally:
            self._probing = None


async def open_mcp(server: McpServer) -> McpSource:
    """Start or reach a server, and make tools of its tools.

    Raises:
        UserError: it does not start, its tools cannot be used, or the extra ``mcp`` is not installed; one
            line says which and why.
    """
    require_extra()
    try:
        connection = await connect(server)
    except McpServerFailed as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"MCP server {server.name!r} cannot start: {error.strerror or error}") from None
    try:
        return McpSource(server, connection)
    except BaseException:
        await connection.close()
        raise


@asynccontextmanager
async def open_mcp_servers(servers: Sequence[McpServer]) -> AsyncIterator[list[McpSource]]:
    """Open all of them at the same time, and close all of them.

    Raises:
        UserError: one does not start; those that did have been closed.
    """
    check_mcp_servers(servers)
    async with AsyncExitStack() as stack:
        opening = [asyncio.create_task(open_mcp(server)) for server in servers]
        try:
            outcomes = await asyncio.gather(*opening, return_exceptions=True)
        except BaseException:
            for task in opening:
                task.cancel()
            outcomes = await asyncio.gather(*opening, return_exceptions=True)
            await _close_all(outcomes)
            raise
        stack.push_async_callback(_close_all, outcomes)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        yield [outcome for outcome in outcomes if isinstance(outcome, McpSource)]


async def _close_all(sources: Sequence[Any]) -> None:
    await asyncio.gather(*(source.close() for source in sources if isinstance(source, McpSource)))


def with_mcp_tools(tools: Sequence[Tool], sources: Sequence[ToolSource], owner: str) -> list[Tool]:
    """An environment's tools, then those of the servers.

    Args:
        owner: the environment, as it is to be named where its tools clash with a server's.

    Raises:
        UserError: two tools have one name.
    """
    together = list(tools)
    owners = {tool.name: owner for tool in tools}
    for source in sources:
        server = f"MCP server {source.server.name!r}"
        for tool in source.tools:
            if tool.name in owners:
                raise UserError(
                    f"{owners[tool.name]} and {server} both have a tool named {tool.name!r}; "
                    f"give the server a prefix, such as prefix: {source.server.name}_"
                )
            owners[tool.name] = server
            together.append(tool)
    return together
