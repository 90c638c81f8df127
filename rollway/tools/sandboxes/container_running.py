"""One command in a container, from the start of its client to its last words."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import IO

from rollway.tools.sandboxes.client_process import ClientProcess
from rollway.tools.sandboxes.container_engine import start_client
from rollway.tools.sandboxes.container_output import CommandOutput

COMING_IN = 10.0  # seconds that an engine may take to bring a command in
GRACE = 0.5  # seconds that a client has to end by itself once its command has


async def kill_with(clients: Iterable[ClientProcess], kill: Callable[[], Awaitable[None]]) -> None:
    """Kill, and again while a client is there whose command may have been on its way in: no kill finds it
    there, and it would go on without its client."""
    clients, give_up = list(clients), time.monotonic() + COMING_IN
    while True:
        await kill()
        grace = time.monotonic() + GRACE
        if all([await client.ends_within(grace - time.monotonic()) for client in clients]):
            return
        if time.monotonic() > give_up:
            return


class Running:
    """One command that is at work, and what is known of it. Its client is at work once this is made."""

    def __init__(
        self,
        words: list[str],
        stdin: IO[bytes] | None,
        nonce: str,
        keep: int | None,
        most: int | None,
        stdout: IO[bytes] | None = None,
    ) -> None:
        self.words = words
        self.began = time.monotonic()
        self.stdout, self.stderr = CommandOutput(nonce, keep, stdout), CommandOutput(nonce, keep)
        self.client = start_client(words, stdin=stdin or subprocess.DEVNULL)
        self.timed_out = self.exceeded = self.killed = False
        self._most = most
        self._told = asyncio.get_running_loop().create_future()
        self._outputs: tuple[asyncio.Future[None], ...] = ()

    async def ended_or_too_much(self) -> None:
        """Until both outputs have told of the command's end, the client is gone, or it wrote too much "
        "output."""
        out = await self.client.listen_to_stdout(lambda data: self._take(self.stdout, data))
        err = await self.client.listen_to_stderr(lambda data: self._take(self.stderr, data))
        self._outputs = (out.ended, err.ended)
        client_end = asyncio.ensure_future(self.client.end())
        try:
            await asyncio.wait((client_end, self._told), return_when=asyncio.FIRST_COMPLETED)
        finally:
            client_end.cancel()

    async def last_words(self) -> None:
        """Let the client end by itself, and take what is still in its pipes."""
        await self.client.ends_within(GRACE)
        self.client.kill()
        if self._outputs:
            await asyncio.wait(self._outputs, timeout=GRACE)

    def _take(self, output: CommandOutput, data: bytes) -> None:
        output.feed(data)
        if self._most is not None and self.stdout.total + self.stderr.total > self._most:
            self.exceeded = True
        both = self.stdout.exit_code is not None and self.stderr.exit_code is not None
        if (both or self.exceeded) and not self._told.done():
            self._told.set_result(None)


def as_file(data: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.seek(0)
    return file
