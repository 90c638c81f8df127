"""A short-lived child on the event loop: no thread waits for it, and its outputs go where the caller says.

`asyncio.create_subprocess_exec` takes a thread per child on Python 3.11; here a pidfd tells of the end, and
short polls do where there are none. The children run in a session of their own, so that Ctrl-C does not end
them before what they stand for was tidied up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import IO

NOWHERE = "/proc" if os.path.isdir("/proc") else "/"
"""Where the children run. Podman's monitor leaves an empty file named "oom" in its folder when a container
has used up its memory; here it cannot."""

POLL = 0.01  # seconds, where the system has no pidfd


class ClientProcess:
    """A running child. `end` gives its exit code (negative for a signal), for any number of callers."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.PIPE,
        stderr: IO[bytes] | int = subprocess.PIPE,
    ) -> None:
        """Start it. An output that is no pipe is not for `listen`.

        Raises:
            OSError: the program is missing or cannot be started.
        """
        self._loop = asyncio.get_running_loop()
        self.child = subprocess.Popen(
            list(command),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            cwd=NOWHERE,
            start_new_session=True,
        )
        self._end: asyncio.Future[int] = self._loop.create_future()
        self._pidfd: int | None = None
        self._transports: list[asyncio.BaseTransport] = []
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(self.child.pid)
            self._loop.add_reader(self._pidfd, self._look)
        else:
            self._loop.call_later(POLL, self._poll)

    async def listen_to_stdout(self, take: Callable[[bytes], None]) -> Listener:
        """Hand on what it writes as it comes."""
        return await self._listen(self.child.stdout, take)

    async def listen_to_stderr(self, take: Callable[[bytes], None]) -> Listener:
        return await self._listen(self.child.stderr, take)

    async def _listen(self, pipe: IO[bytes] | None, take: Callable[[bytes], None]) -> Listener:
        listener = Listener(take, self._loop.create_future())
        transport, _ = await self._loop.connect_read_pipe(lambda: listener, pipe)
        self._transports.append(transport)
        return listener

    async def writer(self) -> asyncio.StreamWriter:
        """Its standard input, which must be a pipe."""
        transport, protocol = await self._loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(self._loop), self.child.stdin
        )
        self._transports.append(transport)
        return asyncio.StreamWriter(transport, protocol, None, self._loop)

    async def end(self) -> int:
        return await asyncio.shield(self._end)

    async def ends_within(self, seconds: float) -> bool:
        await asyncio.wait((self._end,), timeout=max(0.0, seconds))
        return self.ended

    @property
    def ended(self) -> bool:
        return self._end.done()

    def kill(self) -> None:
        if not self.ended:
            self.child.kill()

    def let_go(self) -> None:
        """Close our ends of its pipes; it may go on by itself."""
        for transport in self._transports:
            transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _look(self) -> None:
        code = self.child.poll()
        if code is None:
            return
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if not self._end.done():
            self._end.set_result(code)

    def _poll(self) -> None:
        self._look()
        if not self._end.done():
            self._loop.call_later(POLL, self._poll)


class Listener(asyncio.Protocol):
    """One of its outputs. `ended` is done when nothing more can come."""

    def __init__(self, take: Callable[[bytes], None], ended: asyncio.Future[None]) -> None:
        self._take = take
        self._transport: asyncio.ReadTransport | None = None
        self.ended = ended

    def pause(self) -> None:
        """Take no more for now."""
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(None)
