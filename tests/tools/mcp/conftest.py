"""What the tests of MCP servers share: a small server of our own over stdio, and one over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rollway.tools.mcp import McpServer

HERE = Path(__file__).parent


@pytest.fixture
def raw() -> Callable[..., McpServer]:
    """``raw("noisy", call_timeout=1)``: a server that is the one in ``raw_server.py``."""

    def server(*flags: str, **fields: Any) -> McpServer:
        args = ["-I", "-S", str(HERE / "raw_server.py"), *flags]
        return McpServer(**{"name": "raw", "command": sys.executable, "args": args} | fields)

    return server


@pytest.fixture
def serve_http() -> Callable[..., Any]:
    """``async with serve_http() as (url, process)``, or ``serve_http(port)``: ``sdk_server.py`` over HTTP."""

    @asynccontextmanager
    async def serve(port: int = 0) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
        port = port or free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "sdk_server.py"), str(port), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(30):
                while not await reachable(port):
                    await asyncio.sleep(0.02)
            yield f"http://127.0.0.1:{port}/mcp", process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    return serve


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def reachable(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture
def ends() -> Callable[[int], Any]:
    """``await ends(pid)``: wait until there is no such process, at most ten seconds."""

    async def wait(pid: int) -> None:
        async with asyncio.timeout(10):
            while _runs(pid):
                await asyncio.sleep(0.01)

    return wait


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
