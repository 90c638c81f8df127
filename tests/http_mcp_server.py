"""An MCP server over streamable HTTP, as a process of its own: ``tools/mcp/sdk_server.py``."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

PROGRAM = Path(__file__).parent / "tools" / "mcp" / "sdk_server.py"


@asynccontextmanager
async def serve_http(port: int = 0) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Its URL and its process; port 0 is a free one."""
    with kept_free(port) as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), str(port), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(100):
                while not await reachable(port):
                    await asyncio.sleep(0.02)
            yield f"http://127.0.0.1:{port}/mcp", process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextmanager
def kept_free(port: int) -> Iterator[int]:
    """A port that the system gives to nobody else, while a server takes its time to begin on it."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", port))
        yield place.getsockname()[1]


async def reachable(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
