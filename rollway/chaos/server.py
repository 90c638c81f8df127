"""The scripted model server of a chaos run, a process of its own, which answers by lot in every wrong way.

``python -m rollway.chaos.server PORT PLAN LOG``, PLAN as JSON. It prints its port when it is ready, and ends
with the process that started it. Each answer, right or wrong, is a line of LOG the moment before it is sent,
``kind task seed turn seconds``; a server that takes the place of a killed one goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from rollway.chaos.faults import OVER_LIMIT, Plan
from rollway.chaos.lots import lot
from rollway.chaos.script import Reply, Script, logprob_of, message_ids, prompt_ids, task_of

MODEL = "scripted"
BACKLOG = 4096
ANSWERS = frozenset({"ok", OVER_LIMIT, "wrong"})
"""Kinds of log lines that are no fault by lot."""

SLOW_SECONDS = 1.0  # that a slow reply takes
_STATUS = {"429": 429, "429_retry_after": 429, "502": 502, "503": 503}
_HTML = b"<html><head><title>500</title></head><body><h1>Internal Server Error</h1></body></html>"
_PARENT_SECONDS = 0.5  # between two looks whether our parent is there


class Asked(NamedTuple):
    """What a request is for."""

    task: str
    seed: int
    turn: int


class LogLine(NamedTuple):
    """One answer."""

    kind: str  # "ok", the kind of fault, or "wrong", beside an answer to a wrong conversation
    task: str
    seed: int
    turn: int
    moment: float  # Unix seconds


class ChaosServer:
    """Answers chat requests from the script, unless the plan says otherwise."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self._plan = plan
        self._script = Script(plan.seed, plan.failing, plan.sandboxes)
        self._running = 0
        self._arrivals: Counter[Asked] = Counter(
            Asked(line.task, line.seed, line.turn) for line in read_log(log) if line.kind not in ANSWERS
        )
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "rollway"}
        return web.json_response({"object": "list", "data": [model]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        asked = read_request(body)
        if self._plan.admits is not None and self._running >= self._plan.admits:
            self._note(OVER_LIMIT, asked)
            return _error(429, "too many requests")
        self._running += 1
        try:
            return await self._answer(request, body, asked)
        finally:
            self._running -= 1

    async def _answer(self, request: web.Request, body: Any, asked: Asked) -> web.StreamResponse:
        arrival = self._arrivals[asked]
        fault = self._plan.reply_fault(arrival, *asked)
        if fault is not None:
            self._arrivals[asked] += 1
            self._note(fault, asked)
        if fault is not None and fault != "slow":
            return await self._wrong(request, body, asked, fault)
        pause = self._plan.delay * (0.5 + lot(self._plan.seed, "pause", arrival, *asked))
        await asyncio.sleep(SLOW_SECONDS if fault == "slow" else pause)
        said = self._script.reply(*asked)
        complaint = wrong_history(body, asked.turn)
        if complaint is not None:
            self._note("wrong", asked)
            print(f"{asked}: {complaint}", file=sys.stderr, flush=True)
        self._note("ok", asked)
        return web.Response(body=_encoded(body, said), content_type="application/json")

    async def _wrong(self, request: web.Request, body: Any, asked: Asked, kind: str) -> web.StreamResponse:
        if kind in _STATUS:
            headers = {"Retry-After": "1"} if kind == "429_retry_after" else {}
            return _error(_STATUS[kind], "the server is busy", headers)
        if kind == "500_html":
            return web.Response(body=_HTML, status=500, content_type="text/html")
        whole = _encoded(body, self._script.reply(*asked))
        if kind == "garbage":
            return web.Response(body=b"\x00\xff<<<" + whole[50:80], content_type="application/json")
        if kind == "empty_body":
            return web.Response(body=b"", content_type="application/json")
        if kind == "cut_body":  # a proxy that cut it, and says that this was all
            return web.Response(body=whole[: len(whole) // 2], content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if kind == "hang_up_in_body":
            response.content_length = len(whole)
            await response.prepare(request)
            await response.write(whole[: len(whole) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response

    def _note(self, kind: str, asked: Asked) -> None:
        os.write(self._log, f"{kind} {asked.task} {asked.seed} {asked.turn} {time.time():.3f}\n".encode())


def read_request(body: Any) -> Asked:
    """Whose turn a request asks for.

    Raises:
        ValueError: it is no request of a chaos run.
    """
    messages = body["messages"]
    task = task_of(str(messages[0].get("content")))
    if task is None:
        raise ValueError(f"no task in {messages[0]!r}")
    turn = sum(message["role"] == "assistant" for message in messages)
    return Asked(task, body["seed"], turn)


def wrong_history(body: Any, turns: int) -> str | None:
    """What is wrong with the conversation that a request carries; None: each call of its ``turns`` has one
    answer, in its place, and there is nothing else."""
    messages = body["messages"][1:]
    place = 0
    for turn in range(turns):
        said = messages[place] if place < len(messages) else {}
        calls = said.get("tool_calls") or []
        if said.get("role") != "assistant" or not calls:
            return f"message {place + 1} should be the reply of turn {turn}, with its calls"
        for number, call in enumerate(calls, 1):
            result = messages[place + number] if place + number < len(messages) else {}
            if result.get("role") != "tool" or result.get("tool_call_id") != call["id"]:
                return f"message {place + number + 1} should answer {call['id']}"
        place += 1 + len(calls)
    return None if place == len(messages) else f"there are {len(messages) - place} messages too many"


def read_log(path: Path) -> Iterator[LogLine]:
    """The answers so far. Half a line at the end is left out."""
    if not path.exists():
        return
    for line in path.read_text().split("\n")[:-1]:
        kind, task, seed, turn, moment = line.split(" ")
        yield LogLine(kind, task, int(seed), int(turn), float(moment))


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    detail = {"message": message, "type": "server_error", "param": None, "code": status}
    return web.json_response({"error": detail}, status=status, headers=headers)


def _encoded(body: Any, said: Reply) -> bytes:
    """A reply in the shape of vLLM's."""
    message = said.message()
    sampled, prompt = message_ids(message), prompt_ids(body["messages"], body.get("tools"))
    content = [
        {"token": "x", "logprob": logprob_of(token), "bytes": [120], "top_logprobs": []} for token in sampled
    ]
    usage = {"prompt_tokens": len(prompt), "completion_tokens": len(sampled)}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": content},
        "finish_reason": "tool_calls" if said.calls else "stop",
        "stop_reason": None,
        "token_ids": sampled,
    }
    return msgspec.json.encode(
        {
            "id": "chatcmpl-chaos",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [choice],
            "usage": usage | {"total_tokens": len(prompt) + len(sampled)},
            "prompt_token_ids": prompt,
        }
    )


async def serve(port: int, plan: Plan, log: Path) -> None:
    """Serve until our parent is gone. Port 0 takes a free one."""
    parent = os.getppid()
    runner = web.AppRunner(
        ChaosServer(plan, log).app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=BACKLOG, reuse_address=True)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_SECONDS)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Plan), Path(sys.argv[3])))
