"""Server-sent events: one JSON object per event, ``[DONE]`` at the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from aiohttp import web

from rollway.embedded.engine_thread import EngineDied
from rollway.embedded.server.errors import error_body


async def stream_events(request: web.Request, events: AsyncGenerator[object, None]) -> web.StreamResponse:
    """Send events as they come. A failure after the first byte becomes an event, as it can be no status."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    try:
        async with aclosing(events):  # a client that is gone while it is written to ends them too
            async for event in events:
                await response.write(_event(msgspec.json.encode(event)))
    except EngineDied as error:
        await response.write(_event(error_body(str(error), "InternalServerError", 500)))
    await response.write(_event(b"[DONE]"))
    await response.write_eof()
    return response


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"
