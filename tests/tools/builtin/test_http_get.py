"""Fetching pages of hosts that were allowed, from a server of the test's own."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from rollway.tools import ExecutedCall
from rollway.tools.builtin import http_get_tool
from rollway.tools.context import RolloutContext
from rollway.trajectory import ToolErrorKind

Run = Callable[..., Awaitable[str]]
PAGE = """<!doctype html><html><head><title>A  page</title><style>p {}</style></head><body><h1>Head</h1>
<p>One &amp; <b>two</b></p><script>no()</script><ul><li>a<li>b</ul><pre>x
  y</pre></body></html>"""


@pytest.fixture
def context() -> RolloutContext:
    """It needs no sandbox."""
    return RolloutContext()


class Site:
    """A web server on a port of its own."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0
        self.gate = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        match request.path:
            case "/page":
                return web.Response(text=PAGE, content_type="text/html")
            case "/json":
                return web.json_response({"a": 1})
            case "/latin":
                return web.Response(
                    body="café".encode("latin-1"), content_type="text/plain", charset="latin-1"
                )
            case "/binary":
                return web.Response(body=b"\x89PNG\0", content_type="image/png")
            case "/large":
                return web.Response(text="x" * 5000)
            case "/bomb":
                packed = gzip.compress(b"x" * (50 << 20))
                return web.Response(
                    body=packed, content_type="text/plain", headers={"Content-Encoding": "gzip"}
                )
            case "/slow":
                await self.gate.wait()
            case "/to":
                return web.Response(status=302, headers={"Location": request.query["url"]})
            case "/loop":
                raise web.HTTPFound("/loop")
        return web.Response(status=404, text="not here")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_get("/{tail:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = web.TCPSite(runner, "127.0.0.1", 0)
    await listening.start()
    made.port = runner.addresses[0][1]
    yield made
    made.gate.set()
    await runner.cleanup()


@pytest.fixture
def get(call: Run, site: Site) -> Run:
    async def run(path: str, *hosts: str, **settings: Any) -> str:
        tool = http_get_tool(hosts or [f"127.0.0.1:{site.port}"], **settings)
        url = f"http://127.0.0.1:{site.port}{path}" if path.startswith("/") else path
        return await call(tool, url=url)

    return run


async def test_a_page_becomes_text(get: Run) -> None:
    assert await get("/page") == "A page\n\nHead\n\nOne & two\n\n- a\n- b\n\nx\n  y"


async def test_other_texts_come_as_they_are(get: Run) -> None:
    assert await get("/json") == '{"a": 1}'
    assert await get("/latin") == "café"


async def test_what_is_no_text_is_told_in_words(get: Run) -> None:
    assert await get("/binary") == "Error: the response is not text (image/png, 5 bytes)"


async def test_a_failure_of_the_server_is_told_with_its_body(
    execute: Callable[..., Awaitable[ExecutedCall]], site: Site
) -> None:
    tool = http_get_tool([f"127.0.0.1:{site.port}"])
    done = await execute(tool, url=f"http://127.0.0.1:{site.port}/missing")
    assert done.result.content == "[HTTP 404 Not Found]\nnot here"
    assert done.error is not None
    assert done.error.kind is ToolErrorKind.TOOL_REPORTED


async def test_size_and_time_are_bounded(get: Run) -> None:
    assert await get("/large", max_bytes=10) == "xxxxxxxxxx\n[only the first 10 bytes were read]"
    assert "characters cut" in await get("/large", max_chars=100)
    assert (await get("/bomb", max_bytes=1000, max_chars=2000)).startswith("xxx")
    assert await get("/slow", timeout=0.2) == "Error: no response within 0.2 seconds"


async def test_redirects_are_followed_within_the_list_only(get: Run, site: Site) -> None:
    assert await get("/to?url=/json") == '{"a": 1}'
    for target in (
        "http://evil.example/",
        "file:///etc/passwd",
        f"http://localhost:{site.port}/json",
        "http://[",
    ):
        assert (await get(f"/to?url={target}")).startswith("Error: it redirects")
    assert site.asked.count("/json") == 1
    assert await get("/loop") == "Error: more than 5 redirects"


@pytest.mark.parametrize("host", ["localhost", "*", "*.localhost"])
async def test_a_name_that_leads_to_a_private_address_is_refused(get: Run, site: Site, host: str) -> None:
    """A wildcard, even with the port, names nothing private."""
    for entry in {host, f"{host}:{site.port}"} - {f"localhost:{site.port}"}:
        said = await get(f"http://localhost:{site.port}/json", entry)
        assert "not a public address" in said or "is not allowed" in said
    assert site.asked == []


async def test_a_host_listed_with_its_port_may_be_private(get: Run, site: Site) -> None:
    address = f"http://localhost:{site.port}/json"
    assert await get(address, f"localhost:{site.port}") == '{"a": 1}'


async def test_a_private_address_listed_without_its_port_is_refused(get: Run) -> None:
    assert await get("http://127.0.0.1/", "127.0.0.1") == "Error: 127.0.0.1 is not a public address"


async def test_a_server_that_is_not_there_is_told(get: Run, site: Site) -> None:
    said = await get("http://127.0.0.1:9/", "127.0.0.1:9")
    assert said.startswith("Error: cannot fetch 127.0.0.1")


async def test_a_url_that_makes_no_sense_is_told(get: Run) -> None:
    for url in ("http://exa mple.com://", "http://a..b://", "://"):
        assert (await get(url)).startswith("Error: ")


async def test_a_cancelled_rollout_leaves_no_connection(get: Run, site: Site) -> None:
    task = asyncio.ensure_future(get("/slow"))
    while not site.asked:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
