"""The server as a whole: loading, listening, saying that it is ready, and ending."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
from aiohttp import web

from rollway.embedded.engine import Engine
from rollway.embedded.engine_thread import EngineThread
from rollway.embedded.policy import Policy
from rollway.embedded.server import chat, completions, generate, status, tokenize
from rollway.embedded.server.context import CONTEXT, Context
from rollway.embedded.server.errors import answer_errors
from rollway.errors import UserError
from rollway.interrupts import interrupts_call
from rollway.tool_parsers import get_parser, get_reasoning_format

_BODY_LIMIT = 64 * 1024 * 1024
_BACKLOG = 4096  # connections that may wait to be accepted: thousands of rollouts begin at once
_PARENT_CHECK_INTERVAL = 0.2  # seconds


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a policy is served."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    max_concurrency: int = 128  # sequences in flight; more wait
    max_model_len: int | None = None  # None: all that the model has
    tool_parser: str | None = "hermes"  # None: calls stay in the content
    reasoning_parser: str | None = "qwen3"  # None: thoughts stay in the content
    prefix_tokens: int | None = None  # tokens of ended sequences to keep; None: 256 for each in flight


def build_context(policy: Policy, options: ServerOptions, loop: asyncio.AbstractEventLoop) -> Context:
    """Put a server's parts together. The engine is not started.

    Raises:
        UserError: an option does not fit the policy, or names a format that there is not.
    """
    longest = policy.model.config.max_positions
    length = options.max_model_len or longest
    if not 2 <= length <= longest:
        raise UserError(f"max_model_len must be between 2 and the model's {longest}, got {length}")
    if options.max_concurrency < 1:
        raise UserError(f"max_concurrency must be at least 1, got {options.max_concurrency}")
    kept = options.prefix_tokens
    engine = Engine(
        policy.model,
        policy.tokenizer,
        max_concurrency=options.max_concurrency,
        max_length=length,
        prefix_tokens=256 * options.max_concurrency if kept is None else kept,
    )
    reasoning = options.reasoning_parser
    return Context(
        policy=policy,
        engine=EngineThread(engine, loop),
        max_length=length,
        tool_parser=None if options.tool_parser is None else get_parser(options.tool_parser),
        reasoning_format=None if reasoning is None else get_reasoning_format(reasoning).name,
        started=int(time.time()),
    )


def build_app(context: Context) -> web.Application:
    """All endpoints over one context."""
    app = web.Application(middlewares=[answer_errors], client_max_size=_BODY_LIMIT)
    app[CONTEXT] = context
    for module in (chat, completions, generate, tokenize, status):
        app.add_routes(module.routes())
    return app


@contextlib.asynccontextmanager
async def running_server(policy: Policy, options: ServerOptions) -> AsyncIterator[str]:
    """Serve while the block runs. Gives the base URL.

    Raises:
        UserError: the address cannot be listened on, or as for `build_context`.
    """
    context = build_context(policy, options, asyncio.get_running_loop())
    runner = web.AppRunner(
        build_app(context), handler_cancellation=True, access_log=None, shutdown_timeout=0.5
    )
    await runner.setup()
    context.engine.start()
    try:
        try:
            site = web.TCPSite(runner, options.host, options.port, backlog=_BACKLOG)
            await site.start()
        except OSError as error:
            raise UserError(_cannot_listen(options, error)) from None
        yield _base_url(options.host, runner.addresses[0][1])
    finally:
        await runner.cleanup()
        context.engine.stop()


def _cannot_listen(options: ServerOptions, error: OSError) -> str:
    # Where asyncio binds, it wraps the system's words in its own and keeps the number.
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return (
        f"cannot listen on {options.host}:{options.port}: {reason}; "
        f"choose another with --port (0 for any free port) or --host"
    )


def _base_url(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


async def serve_until_stopped(
    policy: Policy,
    options: ServerOptions,
    *,
    on_ready: Callable[[str], None],
    parent: int | None = None,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, or until the parent process is gone.

    Args:
        on_ready: called with the base URL when requests are answered.
        parent: the process id to outlive by no more than a moment; None to not care.
    """
    stopped = asyncio.Event()
    with interrupts_call(stopped.set, lambda: None):
        async with running_server(policy, options) as base_url:
            on_ready(base_url)
            watch = None if parent is None else asyncio.create_task(_watch_parent(parent, stopped))
            await stopped.wait()
            if watch is not None:
                watch.cancel()


async def _watch_parent(parent: int, stopped: asyncio.Event) -> None:
    """Stop when this process has been handed over to another parent, however the first one ended."""
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_CHECK_INTERVAL)
    stopped.set()


def write_ready_file(path: Path, base_url: str) -> None:
    """Put the base URL into a file, whole or not at all."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(base_url + "\n", encoding="utf-8")
    draft.replace(path)
