"""A process in a sandbox, driven through the sandbox's agent.

What it writes waits on its side once a window of bytes is under way, so a reader that is slow or gone costs
no memory here.
"""

from __future__ import annotations

import asyncio

from rollway.tools.sandboxes.agent.frames import PIECE
from rollway.tools.sandboxes.boot_clock import seconds_ago
from rollway.tools.sandboxes.link import Link, Reply
from rollway.tools.sandboxes.protocol import SandboxError


class AgentProcess:
    """A `SandboxProcess`; also the transfer of an archive, which is a process of the agent's own."""

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number  # of the request that started it
        self._output = bytearray()
        self._over = False  # nothing more comes
        self._news = asyncio.Event()
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.message = ""  # a transfer's own error, when it is over
        link.listeners[number] = self._on_event

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            await self._input(data[start : start + PIECE], last=False)

    async def end_input(self) -> None:
        """Close its standard input."""
        await self._input(b"", last=True)

    async def _input(self, piece: bytes, *, last: bool) -> None:
        await self._link.ask("input", piece, within=None, to=self._number, last=last)

    async def read(self) -> bytes:
        while not self._output:
            self._check()
            if self._over:
                return b""
            self._news.clear()
            await self._news.wait()
        data = bytes(self._output)
        self._output.clear()
        if self._link.fault is None:
            self._link.tell("more", to=self._number, bytes=len(data))
        return data

    async def kill(self, *, children_only: bool = False, started_after: float | None = None) -> None:
        since = None if started_after is None else seconds_ago(started_after).seconds
        await self._link.ask("kill", to=self._number, children_only=children_only, since=since)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit)

    def abandon(self) -> None:
        """Kill it without waiting for that; for callers that are cancelled."""
        if self._link.fault is None:
            self._link.tell("kill", to=self._number, children_only=False, since=None)

    def _check(self) -> None:
        if self._link.fault is not None:
            raise SandboxError(self._link.fault)

    def _on_event(self, reply: Reply | None, body: bytes) -> None:
        if reply is None:
            if not self._exit.done():
                self._exit.set_exception(SandboxError(self._link.fault))
                self._exit.exception()  # seen: perhaps nobody waits
        elif reply.event == "output":
            self._output += body
        else:
            self.message = reply.message
            if not self._exit.done():
                self._exit.set_result(reply.exit_code)
            if reply.event == "end":
                self._over = True
                self._link.listeners.pop(self._number, None)
        self._news.set()
