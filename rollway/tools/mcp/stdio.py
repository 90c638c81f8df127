"""A server as a child process: its messages, one per line, on stdin and stdout, its stderr in the log.

The invariant: the process tree never outlives the context, nor us (see `keeper`), and nothing that the server
writes, garbage, one endless line or a flood on stderr, costs more than a bounded amount of memory and log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollway.tools.mcp.server import McpServer, expanded, find_command

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.shared.message import SessionMessage

GRACE_SECONDS = 1.0  # that a server has to end by itself once its stdin is closed
END_SECONDS = 5.0  # that its keeper has to end it and all that it started
MOST_MESSAGE = 32 << 20  # bytes of one message
MOST_GARBAGE = 1_000  # lines on stdout that are no message
MOST_LOGGED = 64 << 10  # bytes of stderr in the log, for each start
LAST_WORDS = 500  # characters of stderr in the message when it fails

_KEEPER = str(Path(__file__).with_name("keeper.py"))
_log = logging.getLogger(__name__)


class ServerProcess:
    """A running server process, and why it is of no more use once it is not."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.reason = ""  # in words that follow "MCP server 'x'"; "" also when it is we who end it
        self.closing = False
        self.stderr = ""  # its end

    def last_words(self) -> str:
        """The end of what it wrote to stderr, to be told behind the reason."""
        words = " ".join(self.stderr.split())[-LAST_WORDS:]
        return f"; its last output: {words}" if words else ""

    def note(self, reason: str) -> None:
        """Keep the first reason, if it is not ours."""
        if not self.closing:
            self.reason = self.reason or reason


async def start_process(server: McpServer) -> ServerProcess:
    """Start the server's command under its keeper.

    Raises:
        UserError: there is no such command, or a variable that it needs is not set.
        OSError: the system has no place for another process.
    """
    from mcp.client.stdio import get_default_environment

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", _KEEPER, str(GRACE_SECONDS), find_command(server), *server.args),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=get_default_environment() | expanded(server, server.env),
        cwd=server.directory,
        start_new_session=True,
        limit=MOST_MESSAGE,
    )
    return ServerProcess(server.name, process)


@asynccontextmanager
async def talking_to(server: ServerProcess, on_end: Callable[[], None]) -> AsyncGenerator[Any]:
    """The transport that the SDK's `Client` takes. ``on_end`` is called when the server says nothing more."""
    import anyio

    received, read_stream = anyio.create_memory_object_stream["SessionMessage | Exception"](0)
    write_stream, to_send = anyio.create_memory_object_stream["SessionMessage"](0)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_read, server, received, on_end)
            group.start_soon(_write, server, to_send)
            group.start_soon(_log_stderr, server)
            try:
                yield read_stream, write_stream
            finally:
                server.closing = True
                with anyio.CancelScope(shield=True):
                    await end_process(server)
                group.cancel_scope.cancel()
    finally:
        for stream in (received, read_stream, write_stream, to_send):
            stream.close()


async def end_process(server: ServerProcess) -> None:
    """Close its stdin, and see it gone. Its keeper does the rest, and is given a bounded time for it."""
    process = server.process
    assert process.stdin is not None
    process.stdin.transport.abort()  # at once, also where it has stopped to read
    if not await _gone(process, END_SECONDS):
        _log.warning("the keeper of MCP server %r (process %d) is killed", server.name, process.pid)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        await _gone(process, END_SECONDS)
    getattr(process, "_transport").close()  # noqa: B009 (private, and else left open where a pipe is still held)


async def _gone(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Not `process.wait`, which also waits for whoever else holds the pipes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while process.returncode is None and loop.time() < deadline:
        await asyncio.sleep(0.01)
    return process.returncode is not None


async def _read(
    server: ServerProcess,
    received: MemoryObjectSendStream[SessionMessage | Exception],
    on_end: Callable[[], None],
) -> None:
    import anyio

    try:
        await _read_messages(server, received.send)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # the session is gone
    except ValueError:
        server.note(f"wrote a message of more than {MOST_MESSAGE >> 20} MiB")
    if not server.reason:
        await _gone(server.process, END_SECONDS)
        server.note(_ending(server.process.returncode))
    on_end()
    received.close()


async def _read_messages(
    server: ServerProcess, deliver: Callable[[SessionMessage | Exception], Awaitable[None]]
) -> None:
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    stdout = server.process.stdout
    assert stdout is not None
    garbage = 0
    while line := await stdout.readline():
        if not line.strip():
            continue
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            garbage += 1
            if garbage == 1:
                _log.warning(
                    "MCP server %r wrote to stdout something that is not a message: %r",
                    server.name,
                    line[:200],
                )
            if garbage > MOST_GARBAGE:
                server.note(f"wrote more than {MOST_GARBAGE} lines to stdout that are not messages")
                return
            continue
        await deliver(SessionMessage(message))


def _ending(code: int | None) -> str:
    if code is None:
        return "closed its stdout"
    return f"was ended by signal {code - 128}" if code > 128 else f"ended with exit code {code}"


async def _write(server: ServerProcess, to_send: MemoryObjectReceiveStream[SessionMessage]) -> None:
    stdin = server.process.stdin
    assert stdin is not None
    try:
        async for item in to_send:
            line = item.message.model_dump_json(by_alias=True, exclude_unset=True) + "\n"
            stdin.write(line.encode("utf-8", "replace"))
            await stdin.drain()
    except ConnectionError:
        pass  # it has ended, as `_read` finds out


async def _log_stderr(server: ServerProcess) -> None:
    stderr = server.process.stderr
    assert stderr is not None
    logged, rest = 0, b""
    while chunk := await stderr.read(4096):
        server.stderr = (server.stderr + chunk.decode("utf-8", "replace"))[-4 * LAST_WORDS :]
        if logged > MOST_LOGGED:
            continue
        logged += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            _log.info("MCP server %r: %s", server.name, line.decode("utf-8", "replace").rstrip())
        if logged > MOST_LOGGED:
            _log.info("MCP server %r: further stderr output is not logged", server.name)
