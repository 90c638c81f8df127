"""A sandbox whose agent sits at the other end of a socket: what the local and bubblewrap backends share."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from rollway.tools.sandboxes.agent.archives import CONTENT
from rollway.tools.sandboxes.agent.frames import PIECE
from rollway.tools.sandboxes.agent_process import AgentProcess
from rollway.tools.sandboxes.archives import Bounds, on_our_disk
from rollway.tools.sandboxes.given import as_bytes, as_command, as_seconds, as_words
from rollway.tools.sandboxes.link import Link
from rollway.tools.sandboxes.packing import pack
from rollway.tools.sandboxes.protocol import MAX_OUTPUT, ExecResult, SandboxError, SandboxFileError
from rollway.tools.sandboxes.unpacking import unpack

GRACE = 5.0  # seconds past a command's deadline before the sandbox itself is given up


class AgentSandbox:
    """A `Sandbox`. ``end`` ends its processes and removes what it has on the host; it is called once."""

    def __init__(self, name: str, workspace: str, link: Link, end: Callable[[], Awaitable[None]]) -> None:
        self.id = name
        self.workspace = workspace
        self._link = link
        self._end = end
        self._closing: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        return self._link.fault is not None

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes = b"",
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
        max_output: int = MAX_OUTPUT,
    ) -> ExecResult:
        words, timeout = as_command(command), as_seconds(timeout)
        number, answer = self._link.post(
            "exec",
            as_bytes("stdin", stdin),
            command=["bash", "-c", words] if isinstance(words, str) else words,
            directory=directory,
            environment=dict(environment or {}),
            timeout=timeout,
            max_output=max_output,
        )
        try:
            reply, body = await self._link.answer(answer, None if timeout is None else timeout + GRACE)
        except asyncio.CancelledError:
            if self._link.fault is None:
                self._link.tell("kill", to=number, children_only=False, since=None)
            raise
        return ExecResult(
            exit_code=reply.exit_code,
            stdout=body[: reply.sizes[0]],
            stderr=body[reply.sizes[0] :],
            stdout_cut=reply.cut[0],
            stderr_cut=reply.cut[1],
            timed_out=reply.timed_out,
            output_exceeded=reply.output_exceeded,
            duration=reply.duration,
        )

    async def start(
        self,
        command: Sequence[str],
        *,
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> AgentProcess:
        return await self._start(
            "start",
            command=as_words(command),
            directory=directory,
            environment=dict(environment or {}),
        )

    async def _start(self, op: str, **fields: Any) -> AgentProcess:
        number, answer = self._link.post(op, **fields)
        process = AgentProcess(self._link, number)
        try:
            await self._link.answer(answer, 60.0)
        except BaseException:
            self._link.listeners.pop(number, None)
            process.abandon()
            raise
        return process

    async def kill_all(self) -> None:
        await self._link.ask("kill_all")

    async def read(self, path: str | Path, *, max_bytes: int | None = None) -> bytes:
        path, content = os.fspath(path), bytearray()
        while max_bytes is None or len(content) < max_bytes:
            wanted = PIECE if max_bytes is None else min(PIECE, max_bytes - len(content))
            reply, piece = await self._link.ask("read", path=path, offset=len(content), bytes=wanted)
            content += piece
            if not piece or len(content) >= reply.size:
                break
        return bytes(content)

    async def write(self, path: str | Path, data: bytes, *, executable: bool = False) -> None:
        path, data = os.fspath(path), as_bytes("data", data)
        part = f".{secrets.token_hex(8)}.part"
        size = max(1, len(data))
        try:
            for start in range(0, size, PIECE):
                piece, last = data[start : start + PIECE], start + PIECE >= size
                fields: dict[str, Any] = {
                    "path": path,
                    "offset": start,
                    "executable": executable,
                    "part": part,
                    "last": last,
                }
                await self._link.ask("write", piece, **fields)
        except asyncio.CancelledError:
            with suppress(SandboxError):
                self._link.tell("drop", path=path, part=part)
            raise

    async def upload(self, source: str | Path, path: str | Path) -> None:
        path = os.fspath(path)
        with on_our_disk(path), tempfile.TemporaryFile() as archive:
            await asyncio.to_thread(pack, Path(source), archive, CONTENT)
            async with self._transfer("unpack", path=path, mode="r|", clear=False) as transfer:
                while piece := archive.read(PIECE):
                    await transfer.write(piece)

    async def download(self, path: str | Path, target: str | Path) -> None:
        path = os.fspath(path)
        await self._link.ask("kind", path=path)  # a clear refusal, before anything is made
        with on_our_disk(path), tempfile.TemporaryFile() as archive:
            async with self._transfer("pack", path=path, mode="w|") as transfer:
                async for piece in _pieces(transfer, path):
                    archive.write(piece)
            await asyncio.to_thread(unpack, archive, Path(target), CONTENT)

    async def snapshot(self) -> bytes:
        archive = bytearray()
        async with self._transfer("pack", path=".", mode="w|gz") as transfer:
            async for piece in _pieces(transfer, "."):
                archive += piece
        return bytes(archive)

    async def restore(self, snapshot: bytes) -> None:
        snapshot = as_bytes("snapshot", snapshot)
        async with self._transfer("unpack", path=".", mode="r|gz", clear=True) as transfer:
            await transfer.write(snapshot)

    @asynccontextmanager
    async def _transfer(self, op: str, **fields: Any) -> AsyncIterator[AgentProcess]:
        """An archive on its way in or out; its error, where it has one, is raised at the end."""
        transfer = await self._start(op, **fields)
        try:
            try:
                yield transfer
                await transfer.end_input()
            except SandboxError:
                if self._link.fault is not None:
                    raise
            code = await transfer.wait()
            while await transfer.read():
                pass  # its message comes after its output
        except BaseException:
            transfer.abandon()
            raise
        if code != 0:
            raise SandboxFileError(transfer.message or f"{op}: ended with {code}")

    async def close(self) -> None:
        if self._closing is None:
            self._link.lose("the sandbox is closed", by_us=True)
            self._closing = asyncio.ensure_future(self._end())
        await asyncio.shield(self._closing)


async def _pieces(transfer: AgentProcess, path: str) -> AsyncIterator[bytes]:
    """An archive on its way out, if it is not more than may come at once."""
    size, most = 0, Bounds().bytes
    while piece := await transfer.read():
        size += len(piece)
        if size > most:
            raise SandboxFileError(f"{path}: more than {most} bytes to copy out of the sandbox")
        yield piece
