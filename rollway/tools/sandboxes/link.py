"""Our end of the socket to a sandbox's agent: requests and their answers, and the events of processes.

What comes from the agent is data of a stranger, decoded into one typed record. Once the link is lost, every
call that waits and every later one fails at once with the same `SandboxError`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from rollway.tools.sandboxes.agent.frames import Frames, order
from rollway.tools.sandboxes.protocol import SandboxError, SandboxFileError, SandboxLimitReached

MAX_FRAME = 512 << 20  # bytes


class Reply(msgspec.Struct, frozen=True):
    """An answer to a request, or an event of a process; which fields are set depends on the request."""

    id: int
    error: str | None = None  # "file", "ended" or "sandbox"
    message: str = ""
    errno: int | None = None  # why the system refused a file
    event: str | None = None  # "output", "exit", "end"; "crash" of the agent itself
    exit_code: int = 0
    sizes: list[int] = []  # bytes of stdout and stderr in the body
    cut: list[int] = []
    timed_out: bool = False
    output_exceeded: bool = False
    duration: float = 0.0
    size: int = 0  # bytes of the whole file
    kind: str = ""


Answer = tuple[Reply, bytes]


class Link(asyncio.Protocol):
    """One sandbox's agent, as seen from the event loop that opened it."""

    def __init__(self) -> None:
        self.fault: str | None = None  # why no call can succeed any more
        self.limit_reached: Callable[[], str | None] = lambda: None
        """Asked when the link is lost: which limit of its own the sandbox ran into, if any."""
        self._limit: str | None = None
        self.files_on_host = False  # its files have no limit of their own, but the disk's
        self.listeners: dict[int, Callable[[Reply | None, bytes], None]] = {}  # None: the link is lost
        self._transport: asyncio.Transport | None = None
        self._frames = Frames(MAX_FRAME)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._last = 0
        self._decoder = msgspec.json.Decoder(Reply)

    @classmethod
    async def over(cls, end: socket.socket) -> Link:
        """A link over our end of a socket pair, which it owns from now on."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(cls, sock=end)
        return link

    def tell(self, op: str, body: bytes = b"", **fields: Any) -> int:
        """Send a request whose answer nobody waits for; its number.

        Raises:
            SandboxError: the link is lost.
        """
        if self.fault is not None or self._transport is None:
            raise self._lost()
        self._last += 1
        self._transport.write(order({"id": self._last, "op": op, **fields}, body))
        return self._last

    def post(self, op: str, body: bytes = b"", **fields: Any) -> tuple[int, asyncio.Future[Answer]]:
        """Send a request: its number, and the answer to come."""
        number = self.tell(op, body, **fields)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(number, None))
        return number, answer

    async def answer(self, answer: asyncio.Future[Answer], within: float | None) -> Answer:
        """Wait for an answer, and give the sandbox up when there is none ``within`` seconds.

        Raises:
            SandboxFileError: the agent refused a file.
            SandboxError: anything else that it could not do.
        """
        await asyncio.wait([answer], timeout=within)
        if not answer.done():
            answer.cancel()
            self.lose(f"the sandbox did not answer within {within:.0f} s and was closed")
            raise self._lost()
        reply, body = answer.result()
        if reply.error == "file":
            raise SandboxFileError(reply.message) from self._disk_fault(reply)
        if reply.error is not None:
            raise SandboxError(reply.message)
        return reply, body

    async def ask(self, op: str, body: bytes = b"", *, within: float | None = 60.0, **fields: Any) -> Answer:
        """`post` and `answer`."""
        _, answer = self.post(op, body, **fields)
        try:
            return await self.answer(answer, within)
        finally:
            answer.cancel()

    def lose(self, fault: str, *, by_us: bool = False) -> None:
        """Nothing comes of this sandbox any more. The agent sees the socket close, and ends all there is.

        ``by_us``: it is closed, and not lost.
        """
        if self.fault is not None:
            return
        self._limit = None if by_us else self.limit_reached()
        self.fault = fault if self._limit is None else f"{fault}; {self._limit}"
        if self._transport is not None:
            self._transport.abort()
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(self._lost())
                answer.exception()  # seen: its caller may have gone
        listeners, self.listeners = list(self.listeners.values()), {}
        for listener in listeners:
            listener(None, b"")

    def _disk_fault(self, reply: Reply) -> OSError | None:
        """The machine's disk is full; where the sandbox's files have a limit of their own, it is not."""
        full = self.files_on_host and reply.errno in (errno.ENOSPC, errno.EDQUOT)
        return OSError(reply.errno, reply.message) if full else None

    def _lost(self) -> SandboxError:
        if self.fault is None:
            return SandboxError("the sandbox was never started")
        return SandboxError(self.fault) if self._limit is None else SandboxLimitReached(self.fault)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for text, body in self._frames.add(data):
                self._on_reply(self._decoder.decode(text), body)
        except (ValueError, msgspec.DecodeError) as error:
            self.lose(f"the sandbox sent an invalid message: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self.lose("the sandbox is gone: something ended it from outside or inside")

    def _on_reply(self, reply: Reply, body: bytes) -> None:
        if reply.event == "crash":
            self.lose(f"the sandbox's agent failed: {reply.message}")
        elif reply.event is not None:
            if listener := self.listeners.get(reply.id):
                listener(reply, body)
        elif (answer := self._waiting.get(reply.id)) and not answer.done():
            answer.set_result((reply, body))
