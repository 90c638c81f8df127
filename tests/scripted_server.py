"""A scripted model server: answers what a test tells it to, and remembers what it was asked.

The script is a list of steps, one per POST in the order of arrival, or one function of the request. A step
is a dict (sent as JSON with status 200), bytes (sent as they are), or a `Step` for everything else; see
`reply`, `error`, `hang`, `hang_up` and `after`. A request past the end of the list is answered with
a 400 that says so, which no client tries again.

    async with ScriptedServer([error(503, "busy"), reply(content="7")]) as server:
        client = ChatClient(base_url=server.url, model="scripted")
        ...
        assert len(server.requests) == 2
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

END_TOKEN = 256  # ends every message; below it a token is a byte of the text
_ROLE_TOKENS = {"system": 257, "user": 258, "assistant": 259, "tool": 260, "developer": 261}
_TOOLS_TOKEN = 262
_SERVER_FILLS: Any = object()
_call_numbers = itertools.count(1)


@dataclass(frozen=True)
class Step:
    """One answer. It begins when ``when`` is set (at once without one)."""

    body: Any = None  # bytes go out as they are, anything else as JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    when: asyncio.Event | None = None
    hang: bool = False  # never answer
    hang_up: bool = False  # close the connection instead of (the rest of) an answer
    headers_first: bool = False  # send status and headers, and half of the body, before hanging (up)


@dataclass(frozen=True)
class ScriptedRequest:
    """One POST as it arrived."""

    index: int  # 0-based, in the order of arrival
    path: str
    headers: dict[str, str]  # names in lower case
    raw: bytes
    body: Any  # the decoded JSON; None when it was none


Script = Sequence[Any] | Callable[[ScriptedRequest], Any]


class ScriptedServer:
    """An OpenAI-compatible server on the loopback interface, for one ``async with``; port 0 is a free one."""

    def __init__(
        self,
        script: Script = (),
        *,
        models: Sequence[str] | Step = ("scripted",),
        pages: dict[str, Any] | None = None,
        port: int = 0,
    ) -> None:
        self.script = script
        self.pages = pages or {}  # what other GET requests are answered, by path
        self.models = models
        self.url = ""  # without /v1
        self.requests: list[ScriptedRequest] = []
        self.gets: list[str] = []  # paths of GET requests
        self.running = 0
        self.peak = 0  # most requests that ran at the same time
        self.finished = 0
        self.aborted = 0  # the client went away before the answer
        self._port = port
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> ScriptedServer:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/{path:.*}", self._get)
        app.router.add_post("/{path:.*}", self._post)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def until(self, condition: Callable[[ScriptedServer], bool], timeout: float = 60.0) -> None:
        """Wait until ``condition(server)`` holds; it is looked at whenever a request comes or ends.

        Raises:
            TimeoutError: it did not hold within ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout):
            async with self._changed:
                await self._changed.wait_for(lambda: condition(self))

    async def _note_change(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self.gets.append(request.path)
        if isinstance(self.models, Step):
            return await _send(request, self.models)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.gets.append(request.path)
        if request.path in self.pages:
            return web.json_response(self.pages[request.path])
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        record = await self._record(request)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await self._note_change()
            response = await _send(request, _fill_prompt(await self._step(record), record.body))
            self.finished += 1
            return response
        except (asyncio.CancelledError, ConnectionResetError):
            self.aborted += 1
            raise
        finally:
            self.running -= 1
            await asyncio.shield(self._note_change())

    async def _record(self, request: web.Request) -> ScriptedRequest:
        raw = await request.read()
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in request.headers.items()}
        record = ScriptedRequest(len(self.requests), request.path, headers, raw, body)
        self.requests.append(record)
        return record

    async def _step(self, request: ScriptedRequest) -> Step:
        if callable(self.script):
            step = self.script(request)
            if inspect.isawaitable(step):
                step = await _awaited(step)
        elif request.index < len(self.script):
            step = self.script[request.index]
        else:
            step = error(400, f"request {request.index + 1}, but the script ends after {len(self.script)}")
        return step if isinstance(step, Step) else Step(body=step)


async def _awaited(step: Awaitable[Any]) -> Any:
    return await step


async def _send(request: web.Request, step: Step) -> web.StreamResponse:
    if step.when is not None:
        await step.when.wait()
    body = step.body if isinstance(step.body, bytes) else json.dumps(step.body).encode()
    headers = {"Content-Type": "application/json", **step.headers}
    if not (step.hang or step.hang_up):
        return web.Response(body=body, status=step.status, headers=headers)
    response = web.StreamResponse(status=step.status, headers=headers)
    if step.headers_first:
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if step.hang:
        await asyncio.Event().wait()
    if request.transport is not None:
        request.transport.close()
    return response


def _fill_prompt(step: Step, request_body: Any) -> Step:
    body = step.body
    if not isinstance(body, dict) or body.get("prompt_token_ids") is not _SERVER_FILLS:
        return step
    ids = prompt_ids(request_body.get("messages", []), request_body.get("tools"))
    usage = body.get("usage")
    if usage:
        total = len(ids) + usage["completion_tokens"]
        usage = {**usage, "prompt_tokens": len(ids), "total_tokens": total}
    return replace(step, body={**body, "prompt_token_ids": ids, "usage": usage})


def prompt_ids(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> list[int]:
    """A tiny chat template: bytes as tokens. A longer conversation begins with the ids of a shorter one
    and of its reply, as `reply` makes them."""
    ids = [_TOOLS_TOKEN, *json.dumps(tools).encode(), END_TOKEN] if tools else []
    for message in messages:
        ids += [_ROLE_TOKENS[message["role"]], *message_ids(message)]
    return [*ids, _ROLE_TOKENS["assistant"]]


def message_ids(message: dict[str, Any]) -> list[int]:
    """The tokens of one message without its role: text, reasoning and calls as bytes, then `END_TOKEN`."""
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    text = f"<think>{reasoning}</think>" if reasoning else ""
    text += message.get("content") or ""
    for call in message.get("tool_calls") or ():
        function = call["function"]
        text += (
            f'<tool_call>{{"name": "{function["name"]}", "arguments": {function["arguments"]}}}</tool_call>'
        )
    return [*text.encode(), END_TOKEN]


def reply(
    content: str | None = None,
    *,
    tool_calls: Sequence[Any] = (),
    reasoning: str | None = None,
    reasoning_field: str = "reasoning",
    finish_reason: str | None = None,
    token_ids: list[int] | None = _SERVER_FILLS,
    logprobs: list[float] | None = _SERVER_FILLS,
    prompt_token_ids: list[int] | None = _SERVER_FILLS,
    usage: dict[str, Any] | None = _SERVER_FILLS,
    model: str = "scripted",
    **extra: Any,
) -> dict[str, Any]:
    """A chat reply in vLLM's shape.

    ``tool_calls`` holds (name, arguments) pairs, where the arguments are raw text or a value to be written
    as JSON, or whole calls as dicts. Token ids, logprobs and prompt ids are made up from the text and from
    the request, one per byte, unless given; ``None`` leaves them out. ``extra`` goes in at the top level.
    """
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning is not None:
        message[reasoning_field] = reasoning
    if tool_calls:
        message["tool_calls"] = [_call(call) for call in tool_calls]
    ids = message_ids(message) if token_ids is _SERVER_FILLS else token_ids
    if ids and finish_reason == "length" and token_ids is _SERVER_FILLS:
        ids = ids[:-1]
    if logprobs is _SERVER_FILLS:
        logprobs = None if ids is None else [-(i % 10 + 1) / 10 for i in range(len(ids))]
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "logprobs": None if logprobs is None else {"content": [_logprob(value) for value in logprobs]},
        "finish_reason": finish_reason or ("tool_calls" if tool_calls else "stop"),
        "stop_reason": None,
    }
    if ids is not None:
        choice["token_ids"] = ids
    if usage is _SERVER_FILLS:
        sampled = len(ids or ())
        usage = {"prompt_tokens": len(prompt_token_ids) if isinstance(prompt_token_ids, list) else 0}
        usage |= {"completion_tokens": sampled, "total_tokens": usage["prompt_tokens"] + sampled}
    body = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": model}
    body |= {"choices": [choice], "usage": usage, **extra}
    if prompt_token_ids is not None:
        body["prompt_token_ids"] = prompt_token_ids
    return body


def _call(call: Any) -> dict[str, Any]:
    if isinstance(call, dict):
        return call
    name, arguments = call
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    function = {"name": name, "arguments": text}
    return {"id": f"chatcmpl-tool-{next(_call_numbers)}", "type": "function", "function": function}


def _logprob(value: float) -> dict[str, Any]:
    return {"token": "x", "logprob": value, "bytes": [120], "top_logprobs": []}


def error(
    status: int,
    message: str,
    *,
    kind: str = "Bad Request",
    code: Any = None,
    flat: bool = False,
    headers: dict[str, str] | None = None,
) -> Step:
    """An error in vLLM's shape, or in SGLang's flat one."""
    detail = {"message": message, "type": kind, "param": None, "code": status if code is None else code}
    return Step({"object": "error", **detail} if flat else {"error": detail}, status, headers or {})


def hang(*, headers_first: bool = False) -> Step:
    """Never answer; with ``headers_first`` stop in the middle of the body."""
    return Step(reply("never whole", prompt_token_ids=[1]), hang=True, headers_first=headers_first)


def hang_up(*, headers_first: bool = False) -> Step:
    """Close the connection without an answer; with ``headers_first`` in the middle of the body."""
    return Step(reply("never whole", prompt_token_ids=[1]), hang_up=True, headers_first=headers_first)


def after(event: asyncio.Event, step: Any) -> Step:
    """``step``, but not before ``event`` is set."""
    return replace(step if isinstance(step, Step) else Step(step), when=event)
