"""A process that goes on in a container, at the other end of its client's pipes.

Output waits here until it is read; a process whose output nobody reads is held up, as at any pipe.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable
from typing import Protocol

from rollway.tools.sandboxes.container_engine import engine_words, start_client
from rollway.tools.sandboxes.container_output import EndLine
from rollway.tools.sandboxes.container_running import kill_with
from rollway.tools.sandboxes.protocol import SandboxError

MOST_WAITING = 1 << 20
"""Bytes of output that wait to be read before the process is held up."""
GRACE = 5.0  # seconds that a client's last words have once it has ended
KILLED = 137


class Kill(Protocol):
    def __call__(self, *, spare_first: bool = ..., started_after: float | None = ...) -> Awaitable[None]: ...


class ContainerProcess:
    """Made by a container sandbox's ``start``; `connect` comes before all else."""

    def __init__(self, words: list[str], nonce: str, kill: Kill) -> None:
        self.client = start_client(words, stdin=subprocess.PIPE)
        self._kill = kill
        self._line = EndLine(nonce)
        self._waiting = bytearray()
        self._changed = asyncio.Event()
        self._complaint = bytearray()  # the engine's; the process's own stderr comes with its stdout
        self._over = False  # its stdout has ended

    async def connect(self) -> None:
        self._stdin = await self.client.writer()
        self._stdout = await self.client.listen_to_stdout(self._take)
        self._stdout.ended.add_done_callback(self._end)
        await self.client.listen_to_stderr(self._complaint.extend)

    async def write(self, data: bytes) -> None:
        try:
            if self._over or self._line.exit_code is not None:
                raise ConnectionResetError
            self._stdin.write(data)
            await self._stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise SandboxError(f"the process has ended: {self._why()}") from error

    async def read(self) -> bytes:
        while not self._waiting and not self._over and self._line.exit_code is None:
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._waiting)
        self._waiting.clear()
        self._stdout.resume()
        return data

    async def kill(self, *, children_only: bool = False, started_after: float | None = None) -> None:
        if children_only or started_after is not None:
            await self._kill(spare_first=children_only, started_after=started_after)
            return
        await kill_with([self.client], self._kill)
        self.client.kill()

    async def wait(self) -> int:
        client = asyncio.ensure_future(self.client.end())
        try:
            while not client.done() and self._line.exit_code is None:
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait((client, changed), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
            if client.done():  # the line may still be in its pipe
                await asyncio.wait((self._stdout.ended,), timeout=GRACE)
        finally:
            client.cancel()
        return KILLED if self._line.exit_code is None else self._line.exit_code

    def _take(self, data: bytes) -> None:
        self._waiting += self._line.feed(data)
        if self._line.exit_code is not None:
            self._stdin.close()  # the client ends at the end of its input
        elif len(self._waiting) > MOST_WAITING:
            self._stdout.pause()
        self._changed.set()

    def _end(self, _: object) -> None:
        self._waiting += self._line.rest()
        self._over = True
        self._changed.set()

    def _why(self) -> str:
        if self._line.exit_code is not None:
            return f"exit code {self._line.exit_code}"
        return engine_words(bytes(self._complaint)) if self._complaint else "it is gone"
