"""A process that lives as long as its rollout and answers one request at a time: a shell, an interpreter.

It marks the end of each answer with a nonce that is new for each request, so that nothing a program prints
by chance, and nothing it learnt from an earlier answer, ends the next. Its output is read between requests
too, so that what it left in the background does not block, until that is too much.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from enum import Enum

import msgspec

from rollway.tools.builtin.output import Kept
from rollway.tools.sandboxes.protocol import SandboxError, SandboxProcess

KEPT_BYTES = 1 << 18  # of one answer
MAX_BYTES = 64 << 20  # of one answer; what writes more is stopped as at its deadline
GRACE = 1.0  # seconds that the process has to answer once all it had started is killed
MARGIN = 0.05  # seconds between two requests, so that the children of one are told from those of the next
_SEPARATOR = b"\x1e"


class Ending(Enum):
    """How a request came to its end."""

    ANSWERED = "answered"
    STOPPED = "stopped"  # what it had started was killed at the deadline; the process goes on
    KILLED = "killed"  # the process itself hung, and was killed
    ENDED = "ended"  # the process ended by itself


class Answer(msgspec.Struct, frozen=True):
    """What came of one request."""

    ending: Ending
    output: bytes  # what was written since the answer before
    trailer: bytes = b""  # what stands in the mark
    exit_code: int | None = None  # of a process that has ended
    flooded: bool = False  # it was stopped for the amount that it wrote


def new_nonce() -> str:
    return secrets.token_hex(12)


def mark_ends(nonce: str) -> tuple[bytes, bytes]:
    """What a mark begins and ends with; between them stands the trailer."""
    word = nonce.encode()
    return _SEPARATOR + word + b":", b":" + word + _SEPARATOR


class LiveProcess:
    """Wraps a `SandboxProcess`. `close` it where it is given up before its sandbox is closed."""

    def __init__(self, process: SandboxProcess) -> None:
        self._process = process
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()  # may more be read?
        self._wanted.set()
        self._pending = bytearray()  # what may be the beginning of a mark
        self._kept = Kept(KEPT_BYTES)
        self._mark: tuple[bytes, bytes] | None = None
        self._trailer: bytes | None = None
        self._answer: Kept | None = None  # what stood before the mark
        self._lost: Exception | None = None
        self._exit_code: int | None = None
        self._closed = False
        self._last = 0.0
        self._before = 0  # bytes that had come before the request
        self._reading = asyncio.ensure_future(self._read())
        self._waiting = asyncio.ensure_future(self._wait())

    @property
    def ended(self) -> bool:
        return self._closed or self._reading.done() or self._waiting.done()

    async def ask(self, request: bytes, nonce: str, *, deadline: float) -> Answer:
        """Send a request and wait for its mark, until the moment ``deadline`` of `time.monotonic`.

        A caller that is cancelled takes the process with it.

        Raises:
            SandboxError: the sandbox is gone.
        """
        await asyncio.sleep(self._last + MARGIN - time.monotonic())
        self._mark, self._trailer, self._answer = mark_ends(nonce), None, None
        started, self._before = time.monotonic(), self._kept.total
        self._wanted.set()
        finished = False
        try:
            answer = await self._exchange(request, started, deadline)
            finished = True
        finally:
            self._mark, self._last = None, time.monotonic()
            if not finished:
                await self.close()
        if answer.ending in (Ending.KILLED, Ending.ENDED):
            await self.close()
        return answer

    async def close(self) -> None:
        """Kill it with all that it started."""
        self._closed = True
        try:
            await self._process.kill()
        except SandboxError:
            pass  # gone already
        self._reading.cancel()
        self._waiting.cancel()

    async def _exchange(self, request: bytes, started: float, deadline: float) -> Answer:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._write(request)
                await self._marked_or_ended()
        except TimeoutError:
            pass
        flooded = self._answer is None and self._flooded()
        ending = Ending.ANSWERED
        if self._answer is None and not self.ended:
            ending = Ending.STOPPED if await self._stop_children(started) else Ending.KILLED
        if self._answer is None and self.ended and ending is not Ending.KILLED:
            ending = Ending.ENDED
            await self._drain()
        if self._lost is not None:
            raise self._lost
        if self._answer is None:
            self._kept.add(self._pending)
            self._pending.clear()
        kept = self._answer or self._take()
        code = self._exit_code if ending is Ending.ENDED else None
        return Answer(ending, kept.content(), self._trailer or b"", code, flooded)

    async def _write(self, request: bytes) -> None:
        try:
            await self._process.write(request)
        except SandboxError as error:
            await asyncio.wait((self._waiting,), timeout=GRACE)
            if not self._waiting.done():
                raise error

    async def _marked_or_ended(self) -> None:
        while self._answer is None and not self.ended and not self._flooded():
            self._changed.clear()
            await self._changed.wait()
        if self._answer is None and self.ended:
            await self._drain()

    async def _drain(self) -> None:
        """Wait a moment for the last words of a process that has ended."""
        await asyncio.wait((self._reading, self._waiting), timeout=0.2)

    async def _stop_children(self, started: float) -> bool:
        """Kill what the request started. A list of commands starts the next one, so this goes on a while."""
        patience = math.inf  # of the first kill, which takes as long as it takes
        while self._answer is None and not self.ended:
            now = time.monotonic()
            if now > patience:
                return False
            await self._process.kill(children_only=True, started_after=now - started + MARGIN / 2)
            patience = min(patience, time.monotonic() + GRACE)
            try:
                async with asyncio.timeout(0.1):
                    await self._changed.wait()
            except TimeoutError:
                continue
            self._changed.clear()
        return True

    async def _read(self) -> None:
        try:
            while data := await self._process.read():
                self._take_in(data)
                if self._mark is None and self._kept.total > MAX_BYTES:
                    self._wanted.clear()
                    await self._wanted.wait()
        except SandboxError as error:
            self._lost = error
        finally:
            self._changed.set()

    async def _wait(self) -> None:
        try:
            self._exit_code = await self._process.wait()
        except SandboxError as error:
            self._lost = error
        finally:
            self._wanted.set()
            self._changed.set()

    def _take_in(self, data: bytes) -> None:
        self._pending += data
        if self._mark is not None and self._answer is None:
            begin, end = self._mark
            start = self._pending.find(begin)
            stop = self._pending.find(end, start + len(begin)) if start >= 0 else -1
            if stop >= 0:
                self._trailer = bytes(self._pending[start + len(begin) : stop])
                self._kept.add(self._pending[:start])
                self._answer = self._take()
                del self._pending[: stop + len(end)]
            else:
                settled = start if start >= 0 else max(0, len(self._pending) - len(begin) + 1)
                self._kept.add(self._pending[:settled])
                del self._pending[:settled]
                if self._flooded():
                    self._changed.set()
                return
            self._changed.set()
        self._kept.add(self._pending)
        self._pending.clear()

    def _flooded(self) -> bool:
        return self._kept.total - self._before > MAX_BYTES

    def _take(self) -> Kept:
        kept, self._kept = self._kept, Kept(KEPT_BYTES)
        return kept
