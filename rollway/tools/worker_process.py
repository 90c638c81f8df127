"""One worker process as its pool sees it: started, asked, ended. Whoever holds it is its only user.

It ends with everything that it started when `end` or `cut` is called, when it dies, and when we do.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Self

from rollway.tools import process_worker
from rollway.tools.pool_records import ProcessEnded
from rollway.tools.process_calls import MAX_REPLY, ProcessReply, decode_reply
from rollway.tools.process_worker import FRAME

START_SECONDS = 60.0  # a worker that has not imported the package by then will not
_BEGUN = FRAME.pack(0)
END_SECONDS = 3.0  # how long a keeper gets to clean up before it is done from here


class WorkerProcess:
    """A keeper, its child that runs calls, and the socket to the child."""

    def __init__(self, keeper: subprocess.Popen[bytes], calls: socket.socket) -> None:
        self._keeper = keeper
        self._calls = calls
        self._buffer = bytearray()
        self._begun = False  # the call that was asked for is unpacked, and runs
        self._path = list(sys.path)  # that it imports from

    @classmethod
    def start(cls) -> Self:
        """Start one and wait until it is ready. Blocks.

        Raises:
            OSError: the system has no room for it, or lacks what it takes.
            ProcessEnded: it did not become ready.
        """
        if not hasattr(os, "waitid"):
            raise OSError("process tools need Linux")
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", process_worker.__file__, str(theirs.fileno())]
        try:
            with theirs:
                keeper = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        worker = cls(keeper, ours)
        try:
            worker._greet()
        except OSError as error:
            raise ProcessEnded(f"the worker did not start: {error or ended_by(worker.end())}") from None
        return worker

    def _greet(self) -> None:
        hello = json.dumps(self._path).encode()
        self._calls.settimeout(START_SECONDS)
        self._calls.sendall(FRAME.pack(len(hello)) + hello)
        if len(self._calls.recv(FRAME.size, socket.MSG_WAITALL)) < FRAME.size:
            raise OSError
        self._calls.setblocking(False)

    @property
    def ready(self) -> bool:
        """Does an idle worker still wait for calls, and import from where we do?"""
        if self._path != sys.path:
            return False
        try:
            self._calls.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # it has ended, or said what nobody asked for

    @property
    def alone(self) -> bool:
        """Has it left no daemon behind? (Its own children it tells of itself.)"""
        try:
            with open(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children") as file:
                return len(file.read().split()) == 1
        except OSError:  # not told on this system: the daemons end with the worker
            return True

    async def ask(
        self, call: bytes, timeout: float | None, on_begin: Callable[[float], None]
    ) -> ProcessReply | None:
        """Have a packed call run. ``None``: it did not end within ``timeout`` seconds.

        The seconds count from when it is unpacked, and ``on_begin`` is told how many seconds ago that was.
        However busy our loop is, a reply that is there at the deadline counts.

        Raises:
            ProcessEnded: the worker has ended, or says what makes no sense.
        """
        loop = asyncio.get_running_loop()
        self._begun, told = False, False
        try:
            async with asyncio.timeout(None if timeout is None else max(timeout, START_SECONDS)) as limit:
                await loop.sock_sendall(self._calls, FRAME.pack(len(call)) + call)
                while (reply := self._reply()) is None:
                    if self._begun and not told:
                        told = True
                        on_begin(0.0)
                        limit.reschedule(None if timeout is None else loop.time() + timeout)
                    self._take_in(await loop.sock_recv(self._calls, 1 << 18))
                if not told:
                    on_begin(reply.duration)
                return reply
        except TimeoutError:
            return self._reply_at_deadline()
        except (ConnectionError, EOFError):
            raise ProcessEnded from None

    def _take_in(self, data: bytes) -> None:
        if not data:
            raise EOFError
        self._buffer += data

    def _reply(self) -> ProcessReply | None:
        """The reply in the buffer, if it is whole. Before it comes an empty frame: the call has begun."""
        if self._buffer.startswith(_BEGUN):
            self._begun = True
            del self._buffer[: len(_BEGUN)]
        if len(self._buffer) < FRAME.size:
            return None
        (size,) = FRAME.unpack_from(self._buffer)
        if size > MAX_REPLY:
            raise EOFError
        if len(self._buffer) < FRAME.size + size:
            return None
        data = bytes(self._buffer[FRAME.size :])
        self._buffer.clear()
        try:
            return decode_reply(data)
        except ValueError:  # msgspec's errors are such
            raise EOFError from None

    def _reply_at_deadline(self) -> ProcessReply | None:
        try:
            while True:
                self._take_in(self._calls.recv(1 << 18))
        except BlockingIOError:
            return self._reply()
        except (OSError, EOFError):
            return None

    def cut(self) -> None:
        """Close the life line: the keeper kills everything. From any thread; does not block."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()

    def end(self) -> int:
        """Kill it and all that it started. Blocks. The child's exit code, or -n for signal n."""
        self.cut()
        self._calls.close()
        keeper = self._keeper
        assert keeper.stdout is not None
        try:
            keeper.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # stopped by its own child, say
            _kill_from_outside(keeper)
        with keeper.stdout as out:
            code = out.read()
        return int(code) if code.removeprefix(b"-").isdigit() else -signal.SIGKILL


def _kill_from_outside(keeper: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        found = process_worker.descendants(keeper.pid)
        if not found:
            break
        process_worker.kill(*found)
        time.sleep(0.001)
    keeper.kill()
    keeper.wait()


def ended_by(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = f"signal {-code}, {signal.Signals(-code).name}"
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, perhaps out of memory" if code == -signal.SIGKILL else name
