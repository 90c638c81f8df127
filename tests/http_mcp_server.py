"""An MCP server over streamable HTTP, as a process of its own: ``tools/mcp/sdk_server.py``."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PROGRAM = Path(__file__).parent / "tools" / "mcp" / "sdk_server.py"


@asynccontextmanager
async def serve_http(port: int = 0) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Its URL and its process; port 0 is a free one."""
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(port), stderr=asyncio.subprocess.DEVNULL
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
