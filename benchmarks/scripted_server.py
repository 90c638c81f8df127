"""The scripted model behind HTTP, in a process of its own: reads a request, counts its turns, sends bytes.

A reply is rendered once per script and turn. The turn is the number of assistant messages in the request,
found by counting bytes; nothing is kept between two requests. A line on standard input is answered with the
counts so far, the end of it ends the server.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
import sys
from typing import Any

from benchmarks.script import Script

BACKLOG = 8192
_MODELS = {"object": "list", "data": [{"id": "scripted", "object": "model"}]}


class Counts:
    """What was asked and answered since the start."""

    def __init__(self) -> None:
        self.requests = 0  # chat completions
        self.answers = 0  # of these, those that end a conversation
        self.read = 0  # bytes of their bodies
        self.sent = 0  # bytes of the replies to them
        self.waiting = 0  # requests whose reply is being delayed
        self.most_waiting = 0


class Route:
    """One script, rendered."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.replies = [_answer(json.dumps(reply, separators=(",", ":"))) for reply in script.replies()]
        self.last = script.turns


class Connection(asyncio.Protocol):
    """One connection. Requests on it come one after the other."""

    def __init__(self, routes: dict[bytes, Route], counts: Counts) -> None:
        self.routes = routes
        self.counts = counts
        self.pending = bytearray()
        self.missing = 0  # bytes that are known to be missing

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.pending or self.missing:
            self.pending += data
            if len(self.pending) < self.missing:
                return
            data = bytes(self.pending)
            self.pending.clear()
        self.missing = 0
        while data:
            size = _size(data)
            if size == 0 or len(data) < size:
                self.pending += data
                self.missing = size
                return
            self.answer(data if len(data) == size else data[:size])
            data = data[size:]

    def answer(self, request: bytes) -> None:
        method, path, _ = request.split(b" ", 2)
        if method != b"POST":
            self.transport.write(_answer(json.dumps(_MODELS)))
            return
        route = self.routes.get(path)
        if route is None:
            route = self.routes[path] = Route(Script.of(path.decode()))
        # Inside a text the quotes are escaped, so this is a message's field.
        turn = request.count(b'"role":"assistant"') or request.count(b'"role": "assistant"')
        reply = route.replies[turn]
        counts = self.counts
        counts.requests += 1
        counts.answers += turn == route.last
        counts.read += len(request)
        counts.sent += len(reply)
        script = route.script
        if script.delay and script.held in (None, turn):
            counts.waiting += 1
            counts.most_waiting = max(counts.most_waiting, counts.waiting)
            # Replies of one moment are spread out, as a model's are; a held one has its exact time.
            spread = 1.0 if script.held is not None else 0.5 + random.random()
            asyncio.get_running_loop().call_later(script.delay * spread, self.send_late, reply)
        else:
            self.transport.write(reply)

    def send_late(self, reply: bytes) -> None:
        self.counts.waiting -= 1
        self.transport.write(reply)


def _size(data: bytes) -> int:
    """Bytes of the request that ``data`` begins with; 0 when its head is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = data[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        return end + 4
    return end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])


def _answer(body: str) -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


async def serve(port: int) -> None:
    """Serve until standard input ends. Port 0 takes a free one; the first line printed says which."""
    counts, routes = Counts(), dict[bytes, Route]()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", port))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(routes, counts), sock=listening, backlog=BACKLOG)
    print(listening.getsockname()[1], flush=True)
    ended = loop.create_future()

    def told() -> None:
        line = sys.stdin.readline()
        if not line:
            ended.set_result(None)
            loop.remove_reader(sys.stdin)
            return
        print(json.dumps(vars(counts)), flush=True)
        counts.most_waiting = counts.waiting

    loop.add_reader(sys.stdin, told)
    gc.disable()  # nothing here makes cycles
    async with server:
        await ended


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
