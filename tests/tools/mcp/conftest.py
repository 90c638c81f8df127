"""What the tests of MCP servers share: a small server of our own over stdio, and one over HTTP."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from http_mcp_server import serve_http

from rollway.tools.mcp import McpServer, McpSource

HERE = Path(__file__).parent


@pytest.fixture
def raw() -> Callable[..., McpServer]:
    """``raw("noisy", call_timeout=1)``: a server that is the one in ``raw_server.py``."""

    def server(*flags: str, **fields: Any) -> McpServer:
        args = ["-I", "-S", str(HERE / "raw_server.py"), *flags]
        return McpServer(**{"name": "raw", "command": sys.executable, "args": args} | fields)

    return server


@pytest.fixture(name="serve_http")
def serve_http_fixture() -> Callable[..., Any]:
    """``async with serve_http() as (url, process)``, or ``serve_http(port)``: ``sdk_server.py`` over HTTP."""
    return serve_http


@pytest.fixture
def within() -> Callable[..., AbstractContextManager[None]]:
    """``with within(source, call_timeout=0.2)``: for this while; what is to succeed has its usual time."""

    @contextmanager
    def given(source: McpSource, **seconds: float) -> Iterator[None]:
        usual = source.server
        source.server = msgspec.structs.replace(usual, **seconds)
        yield
        source.server = usual

    return given


@pytest.fixture
def ends() -> Callable[[int], Any]:
    """``await ends(pid)``: wait until there is no such process, at most a minute."""

    async def wait(pid: int) -> None:
        async with asyncio.timeout(60):
            while _runs(pid):
                await asyncio.sleep(0.01)

    return wait


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
