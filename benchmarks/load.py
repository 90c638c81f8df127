"""How many requests a second the scripted server answers: bare sockets that ask and count bytes.

Runs in a process of its own, so that its own cost does not fall on the caller.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

from benchmarks.measure import cpu_of
from benchmarks.script import Script
from benchmarks.serving import ROOT, ScriptedServer

CONNECTIONS = 64
SECONDS = 1.0


class Asking(asyncio.Protocol):
    """One connection that asks again as soon as the whole reply is there."""

    def __init__(self, request: bytes, done: list[int], until: float) -> None:
        self.request, self.done, self.until = request, done, until
        self.missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self.missing:
            end = data.index(b"\r\n\r\n")
            self.missing = int(data[:end].rpartition(b"Content-Length: ")[2].split(b"\r\n")[0]) + end + 4
        self.missing -= len(data)
        if self.missing == 0:
            self.done[0] += 1
            if time.perf_counter() < self.until:
                self.transport.write(self.request)
            else:
                self.transport.close()


async def ask(host: str, port: int, path: str) -> int:
    body = json.dumps({"messages": [{"role": "user", "content": "?"}]})
    head = f"POST {path}/v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    done, until = [0], time.perf_counter() + SECONDS
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Asking((head + body).encode(), done, until), host, port)
    await asyncio.sleep(SECONDS)
    return done[0]


def requests_per_second(server: ScriptedServer, script: Script) -> tuple[float, float]:
    """Requests a second, and how much of a core the server took for them."""
    before = sum(map(cpu_of, server.pids))
    asked = [sys.executable, "-m", "benchmarks.load", server.address.rpartition(":")[2], script.path]
    done = int(subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    return done / SECONDS, (sum(map(cpu_of, server.pids)) - before) / SECONDS


if __name__ == "__main__":
    print(asyncio.run(ask("127.0.0.1", int(sys.argv[1]), sys.argv[2])))
