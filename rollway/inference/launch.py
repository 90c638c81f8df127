"""Starting the embedded server as a process of its own, for as long as it is needed.

The server is ready when the block begins and gone when it ends. It also ends by itself when this process
does, however that happens.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from rollway.errors import UserError
from rollway.inference.errors import InferenceError

STARTUP_TIMEOUT = 60.0
"""Seconds that a server may take until it answers."""

_POLL_INTERVAL = 0.02  # seconds between two looks at a server that starts
_STOP_TIMEOUT = 5.0  # seconds that a server may take to end before it is killed
_LOG_LINES = 20  # of the server's log, shown when it does not start
_USAGE_ERROR = 2  # exit code of a command that was asked for something impossible


class LaunchFailed(InferenceError):
    """A server did not start. The message holds the end of its log."""


@asynccontextmanager
async def launch_embedded(
    policy: str = "calculator",
    *,
    max_concurrency: int = 128,
    max_model_len: int | None = None,
    tool_parser: str | None = "hermes",
    reasoning_parser: str | None = "qwen3",
    prefix_cache: bool = True,
    startup_timeout: float = STARTUP_TIMEOUT,
) -> AsyncIterator[str]:
    """Serve a policy on a free port of this machine while the block runs. Gives the base URL.

    Example::

        async with launch_embedded("calculator") as base_url:
            client = ChatClient(base_url=base_url, model="calculator")

    Args:
        policy: a shipped policy's name, or a model folder.
        max_concurrency: sequences in flight; more wait.
        max_model_len: context in tokens; None for the model's.
        tool_parser: None leaves tool calls in the text.
        reasoning_parser: None leaves thoughts in the text.
        prefix_cache: False computes every prompt from its start.
        startup_timeout: seconds.

    Raises:
        UserError: there is no such policy, or an option does not fit it.
        LaunchFailed: the server ended or did not answer in time.
    """
    arguments = _arguments(
        policy, max_concurrency, max_model_len, tool_parser, reasoning_parser, prefix_cache
    )
    with _launched(arguments) as server:
        deadline = time.monotonic() + startup_timeout
        while (base_url := server.answering(deadline)) is None:
            await asyncio.sleep(_POLL_INTERVAL)
        yield base_url


@contextmanager
def launch_embedded_sync(
    policy: str = "calculator",
    *,
    max_concurrency: int = 128,
    max_model_len: int | None = None,
    tool_parser: str | None = "hermes",
    reasoning_parser: str | None = "qwen3",
    prefix_cache: bool = True,
    startup_timeout: float = STARTUP_TIMEOUT,
) -> Iterator[str]:
    """`launch_embedded` for code without an event loop."""
    arguments = _arguments(
        policy, max_concurrency, max_model_len, tool_parser, reasoning_parser, prefix_cache
    )
    with _launched(arguments) as server:
        deadline = time.monotonic() + startup_timeout
        while (base_url := server.answering(deadline)) is None:
            time.sleep(_POLL_INTERVAL)
        yield base_url


def _arguments(
    policy: str,
    max_concurrency: int,
    max_model_len: int | None,
    tool_parser: str | None,
    reasoning_parser: str | None,
    prefix_cache: bool,
) -> list[str]:
    arguments = [policy, "--max-concurrency", str(max_concurrency)]
    if max_model_len is not None:
        arguments += ["--max-model-len", str(max_model_len)]
    arguments += ["--no-tool-parser"] if tool_parser is None else ["--tool-parser", tool_parser]
    arguments += (
        ["--no-reasoning-parser"] if reasoning_parser is None else ["--reasoning-parser", reasoning_parser]
    )
    return arguments if prefix_cache else [*arguments, "--no-prefix-cache"]


@contextmanager
def _launched(arguments: list[str]) -> Iterator[_Server]:
    with tempfile.TemporaryDirectory(prefix="rollway-serve-") as folder:
        server = _Server(arguments, Path(folder))
        try:
            yield server
        finally:
            server.stop()


class _Server:
    """A server process, its log, and the file in which it says where it listens."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._log = folder / "log.txt"
        self._ready_file = folder / "base_url"
        command = [sys.executable, "-m", "rollway.cli", "serve", *arguments, "--port", "0"]
        command += ["--ready-file", str(self._ready_file), "--parent-pid", str(os.getpid())]
        with self._log.open("wb") as log:
            # In a session of its own: Ctrl-C in the terminal is for this process, which may still need it.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def answering(self, deadline: float) -> str | None:
        """The base URL once the server answers; None when it does not yet.

        Raises:
            UserError: the server refused its arguments.
            LaunchFailed: it ended, or the deadline (of `time.monotonic`) has passed.
        """
        if self._process.poll() is not None:
            raise self._ended()
        if self._ready_file.exists():
            base_url = self._ready_file.read_text(encoding="utf-8").strip()
            if _healthy(base_url):
                return base_url
        if time.monotonic() > deadline:
            raise LaunchFailed(
                f"the embedded server did not start in time; the end of its log:\n{self._tail()}"
            )
        return None

    def stop(self) -> None:
        """End the process, by force if it does not end when asked."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ended(self) -> Exception:
        code, tail = self._process.returncode, self._tail()
        if code == _USAGE_ERROR and tail:
            return UserError(tail.splitlines()[-1].removeprefix("rollway: "))
        return LaunchFailed(f"the embedded server exited with code {code}; the end of its log:\n{tail}")

    def _tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def _healthy(base_url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(f"{base_url}/health", timeout=1.0):
            return True
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
