"""Sandboxes that are containers, driven through the docker or podman command line.

A command's end is known from the container itself, never guessed from the client: killing a client leaves
what it ran, so a deadline and a cancelled caller kill inside the container. A container goes with its
sandbox, cancelled or not; what a dead worker leaves is `reap_containers`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from rollway.errors import UserError
from rollway.tools.sandboxes import container_files
from rollway.tools.sandboxes.boot_clock import seconds_ago
from rollway.tools.sandboxes.client_process import ClientProcess
from rollway.tools.sandboxes.container_commands import (
    WORKSPACE,
    container_name,
    exec_command,
    kill_command,
    make_room_command,
    remove_command,
    run_command,
    running_command,
)
from rollway.tools.sandboxes.container_engine import (
    ask_engine,
    engine_error,
    engine_words,
    tell_engine,
    user_processes,
)
from rollway.tools.sandboxes.container_orphans import owner_of_this_process
from rollway.tools.sandboxes.container_process import KILLED, ContainerProcess
from rollway.tools.sandboxes.container_running import Running, as_file, kill_with
from rollway.tools.sandboxes.container_scripts import NO_DIRECTORY
from rollway.tools.sandboxes.given import as_bytes, as_command, as_seconds, as_words
from rollway.tools.sandboxes.protocol import (
    MAX_OUTPUT,
    ExecResult,
    Sandbox,
    SandboxError,
    SandboxFileError,
    SandboxLimitReached,
)
from rollway.tools.sandboxes.spec import SandboxSpec

START_SECONDS = 600.0  # the engine may have to pull the image first
UNDO_SECONDS = 2.0  # that an engine has to finish a start that is no longer wanted
REMOVE_SECONDS = 50.0  # that an engine has to remove a container, before its client is killed
_ENGINE_CODES = (125, 126, 127)  # a client's exit codes when the engine could not run the command


async def open_container(spec: SandboxSpec) -> Sandbox:
    """Start a container and hand it out once commands can run in it.

    Raises:
        UserError: no image is given or it cannot be had, or the engine is not installed or does not run.
        SandboxError: the engine could not start it.
    """
    sandbox_id = uuid.uuid4().hex[:16]
    command = run_command(
        spec, sandbox_id, owner_of_this_process(), user_processes=user_processes(spec.backend)
    )
    starting = asyncio.ensure_future(ask_engine(command, patience=START_SECONDS))
    try:
        await asyncio.shield(starting)
    except UserError:
        raise
    except BaseException:
        with contextlib.suppress(SandboxError, UserError):
            await _undo(starting, spec.backend, sandbox_id)
        raise
    return ContainerSandbox(spec, sandbox_id)


async def _undo(starting: asyncio.Future[str], engine: str, sandbox_id: str) -> None:
    """Remove a container that may be about to be made: an engine that is at it is let finish first."""
    try:
        await asyncio.wait((starting,), timeout=UNDO_SECONDS)
    finally:
        starting.cancel()
        await _remove(engine, sandbox_id)


async def _remove(engine: str, sandbox_id: str) -> None:
    await tell_engine(remove_command(engine, [container_name(sandbox_id)]), patience=REMOVE_SECONDS)


class ContainerSandbox:
    """One container. Made by `open_container`."""

    def __init__(self, spec: SandboxSpec, sandbox_id: str) -> None:
        self.id = sandbox_id
        self.workspace = WORKSPACE
        self._closed = False
        self._engine = spec.backend
        self._output_limit = spec.limits.output
        self._clients: set[ClientProcess] = set()

    @property
    def closed(self) -> bool:
        return self._closed

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
        words, stdin = as_command(command), as_bytes("stdin", stdin)
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(as_file(stdin)) if stdin else None
            return await self.run(
                words,
                timeout=as_seconds(timeout),
                stdin=source,
                directory=directory,
                environment=environment,
                keep=max_output,
                most=self._output_limit,
            )

    async def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        stdin: IO[bytes] | None = None,
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
        keep: int | None = None,
        most: int | None = None,
        stdout: IO[bytes] | None = None,
    ) -> ExecResult:
        """As `exec`, with a file for stdin, and perhaps one for stdout, which is not kept then.

        Args:
            keep: bytes of each output; ``None`` is all.
            most: bytes of both together, past which the command is killed; ``None`` is any number.
        """
        self._check_open()
        mark, nonce = uuid.uuid4().hex, uuid.uuid4().hex
        words = exec_command(
            self._engine,
            self.id,
            command,
            mark=mark,
            nonce=nonce,
            stdin=stdin is not None,
            directory=directory,
            environment=environment,
        )
        running = Running(words, stdin, nonce, keep, most, stdout)
        self._clients.add(running.client)
        try:
            try:
                async with asyncio.timeout(timeout):
                    await running.ended_or_too_much()
            except TimeoutError:
                running.timed_out = True
            if running.timed_out or running.exceeded:
                await kill_with([running.client], lambda: self._kill(mark))
                running.killed = True
            await running.last_words()
            return await self._result(running, directory)
        except asyncio.CancelledError:
            await self._kill_for_cancelled(mark, running.client)
            raise
        finally:
            self._clients.discard(running.client)
            running.client.kill()
            running.client.let_go()

    async def _result(self, running: Running, directory: str | None) -> ExecResult:
        code = running.stdout.exit_code
        if code is None:
            code = running.stderr.exit_code
        if code == NO_DIRECTORY:
            raise SandboxFileError(f"{directory}: no such folder to start in")
        stdout, stdout_cut = running.stdout.finish()
        stderr, stderr_cut = running.stderr.finish()
        if code is None and not running.killed:
            code = await self._code_without_end(running, stderr)
        return ExecResult(
            exit_code=KILLED if code is None else code,
            stdout=stdout,
            stderr=stderr,
            stdout_cut=stdout_cut,
            stderr_cut=stderr_cut,
            timed_out=running.timed_out,
            output_exceeded=running.exceeded,
            duration=time.monotonic() - running.began,
        )

    async def _code_without_end(self, running: Running, stderr: bytes) -> int:
        """The client ended and the command's end was not told: it killed its own shell, or all is lost."""
        code = await running.client.end()
        await self._check_running(stderr)
        if code in _ENGINE_CODES or code < 0:
            raise SandboxError(str(engine_error(running.words, stderr)))
        return code or KILLED

    async def start(
        self,
        command: Sequence[str],
        *,
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ContainerProcess:
        self._check_open()
        mark, nonce = uuid.uuid4().hex, uuid.uuid4().hex
        words = exec_command(
            self._engine,
            self.id,
            as_words(command),
            mark=mark,
            nonce=nonce,
            stdin=True,
            joined=True,
            directory=directory,
            environment=environment,
        )
        process = ContainerProcess(words, nonce, lambda **which: self._kill(mark, **which))
        self._clients = {client for client in self._clients if not client.ended} | {process.client}
        try:
            await process.connect()
        except BaseException:
            try:
                await self._kill_for_cancelled(mark, process.client)
            finally:
                process.client.kill()
                process.client.let_go()
            raise
        return process

    async def kill_all(self) -> None:
        self._check_open()
        await kill_with(self._clients, lambda: self._kill(""))

    async def read(self, path: str | Path, *, max_bytes: int | None = None) -> bytes:
        return await container_files.read(self, os.fspath(path), max_bytes)

    async def write(self, path: str | Path, data: bytes, *, executable: bool = False) -> None:
        with as_file(as_bytes("data", data)) as source:
            await container_files.write(self, os.fspath(path), source, executable)

    async def upload(self, source: str | Path, path: str | Path) -> None:
        await container_files.upload(self, Path(source), os.fspath(path))

    async def download(self, path: str | Path, target: str | Path) -> None:
        await container_files.download(self, os.fspath(path), Path(target))

    async def snapshot(self) -> bytes:
        return await container_files.snapshot(self)

    async def restore(self, snapshot: bytes) -> None:
        await container_files.restore(self, as_bytes("snapshot", snapshot))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await _remove(self._engine, self.id)
        except UserError as error:
            raise SandboxError(f"sandbox {self.id} could not be removed: {error}") from error
        finally:
            for client in self._clients:
                client.kill()

    async def _kill(
        self, mark: str, *, spare_first: bool = False, started_after: float | None = None
    ) -> None:
        """Kill what a command started, and all else too where it left no room for the engine to come in.
        A container in which that cannot be done is closed."""
        if self._closed:
            return
        since = None if started_after is None else seconds_ago(started_after)
        words = kill_command(self._engine, self.id, mark, spare_first=spare_first, since=since)
        try:
            try:
                await ask_engine(words)
            except SandboxError:
                await ask_engine(make_room_command(self._engine, self.id))
                await ask_engine(words)
        except (SandboxError, UserError) as error:
            await self.close()
            raise SandboxError(f"its command could not be killed, so it was closed: {error}") from error

    async def _kill_for_cancelled(self, mark: str, client: ClientProcess) -> None:
        """Kill to the end although the caller is cancelled, and once more cancelled close what is left."""
        killing = asyncio.ensure_future(kill_with([client], lambda: self._kill(mark)))
        try:
            with contextlib.suppress(SandboxError):
                await asyncio.shield(killing)
        except asyncio.CancelledError:
            killing.cancel()
            await self.close()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError(f"sandbox {self.id} is closed")

    async def _check_running(self, stderr: bytes) -> None:
        self._check_open()
        try:
            state = await ask_engine(running_command(self._engine, self.id))
        except (SandboxError, UserError):
            state = "gone"
        running, _, out_of_memory = state.strip().partition(" ")
        if running != "true":
            await self.close()
            told = f"sandbox {self.id} is gone: {engine_words(stderr)}"
            if out_of_memory == "true":
                raise SandboxLimitReached(f"{told}; its commands used up its memory (sandbox.limits.memory)")
            raise SandboxError(told)
