"""One live session with a server.

The SDK's session lives in cancel scopes that must be left by the task that entered them, so one task of its
own enters it, waits and leaves it; calls run in tasks of theirs, and whoever awaits one may be cancelled at
any moment without the session noticing more than a cancelled request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rollway.errors import UserError
from rollway.tools.mcp.server import McpServer, expanded
from rollway.tools.mcp.stdio import ServerProcess, start_process, talking_to

if TYPE_CHECKING:
    from anyio import CancelScope
    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as ListedTool

MOST_PAGES = 1_000  # of a server's list of tools
CLOSE_SECONDS = 5.0  # that a server over HTTP has to take its leave


class McpServerFailed(Exception):
    """A server cannot be started, has ended, or does not answer. One line says which server and why."""


class NoAnswer(McpServerFailed):
    """It did not answer in time."""


class Connection:
    """Made by `connect`. Belongs to the event loop that it was made on."""

    def __init__(self, server: McpServer) -> None:
        self.tools: list[ListedTool] = []
        self._server = server
        self._client: Client | None = None
        self._process: ServerProcess | None = None
        self._scope: CancelScope | None = None
        self._reason = ""
        self._ended = asyncio.Event()
        self._requests: set[asyncio.Task[Any]] = set()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(), name=f"mcp-{server.name}")

    @property
    def alive(self) -> bool:
        """Is there, as far as is known, a server that answers?"""
        return self._client is not None and not self._ended.is_set()

    async def call(self, name: str, arguments: dict[str, Any], timeout: float) -> CallToolResult:
        """Call a tool.

        Raises:
            NoAnswer: not within ``timeout`` seconds. The server has been asked to stop working on it.
            McpServerFailed: the server ended.
            mcp.MCPError: the server refused the call.
        """
        assert self._client is not None
        result: CallToolResult = await self._request(self._client.call_tool(name, arguments), timeout)
        return result

    async def answers(self, timeout: float) -> bool:
        """Ask for a sign of life."""
        if not self.alive or self._client is None:
            return False
        try:
            await self._request(self._client.list_tools(), timeout)
        except Exception:
            return False
        return True

    async def _request(self, coroutine: Any, timeout: float) -> Any:
        task = asyncio.ensure_future(coroutine)
        self._requests.add(task)
        task.add_done_callback(self._forget)
        try:
            await asyncio.wait((task,), timeout=timeout)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            task.cancel()
            raise NoAnswer(f"MCP server {self._server.name!r} did not answer within {timeout:g} s")
        if task.cancelled():  # by `close`
            raise McpServerFailed(self._failure())
        return await self._read_outcome(task)

    async def _read_outcome(self, task: asyncio.Task[Any]) -> Any:
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED

        error = task.exception()
        if isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
            self._reason = self._reason or error.message
            raise McpServerFailed(self._failure())
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._requests.discard(task)
        if not task.cancelled():
            task.exception()  # of a request that nobody waited for any more

    def _failure(self) -> str:
        process = self._process
        why = process.reason if process is not None and process.reason else self._reason
        words = process.last_words() if process is not None else ""
        return f"MCP server {self._server.name!r} {_as_predicate(why)}{words}"

    async def close(self, reason: str = "was closed") -> None:
        """End it: its requests, its session, its process and all that this started. Bounded.

        Args:
            reason: the error for waiting calls, after the server's name.
        """
        self._reason = self._reason or reason
        self._ended.set()
        for request in list(self._requests):
            request.cancel()
        if self._scope is not None and self._client is None:
            self._scope.cancel()
        await asyncio.wait((self._owner,))

    async def _own(self) -> None:
        """What the owning task does from the first byte to the last."""
        import anyio

        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._server.start_timeout) as self._scope:
                if self._ended.is_set():  # closed before it began
                    self._scope.cancel()
                async with self._session() as client:
                    self.tools = [tool async for tool in _listed(client)]
                    self._scope.deadline = math.inf
                    self._client = client
                    if not self._ready.done():
                        self._ready.set_result(None)
                    await self._ended.wait()
                    self._scope.deadline = anyio.current_time() + CLOSE_SECONDS
            if self._client is None and not self._reason:
                self._reason = f"did not start within {self._server.start_timeout:g} s"
        except asyncio.CancelledError:
            self._reason = self._reason or "was closed"
            raise
        except BaseException as error:
            self._reason = self._reason or _one_line(error)
            if isinstance(error, UserError) and not self._ready.done():
                self._ready.set_exception(error)
        finally:
            self._ended.set()
            if not self._ready.done():
                self._ready.set_exception(McpServerFailed(self._failure()))

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[Client]:
        from mcp import Client, Implementation

        about = Implementation(name="rollway", version="1")
        async with self._transport() as transport:
            async with Client(transport, client_info=about, cache=None) as client:
                yield client

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        server = self._server
        if server.command is not None:
            self._process = await start_process(server)
            yield talking_to(self._process, self._ended.set)
            return
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        assert server.url is not None
        # Deadlines are those of the calls; a connection for each of any number of concurrent calls.
        async with httpx2.AsyncClient(
            headers=expanded(server, server.headers),
            timeout=httpx2.Timeout(server.start_timeout, read=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=16),
        ) as http:
            yield streamable_http_client(server.url, http_client=http)


async def connect(server: McpServer) -> Connection:
    """Start the server, or reach it, and have it say which tools it has.

    Raises:
        McpServerFailed: it does not start, or not in time.
        UserError: its command or a variable is not there.
    """
    connection = Connection(server)
    try:
        await asyncio.shield(connection._ready)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _listed(client: Client) -> AsyncIterator[ListedTool]:
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            yield tool
        cursor = page.next_cursor
        if cursor is None:
            return
    raise ValueError(f"its list of tools exceeds {MOST_PAGES} pages")


def _as_predicate(why: str) -> str:
    return why if not why or why[:1].islower() else f"failed: {why}"


def _one_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())[:500]
    return f"failed: {type(error).__name__}: {text}" if text else f"failed: {type(error).__name__}"
