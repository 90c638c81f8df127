"""``http_get``: fetch a page of a host that was allowed, as text. It runs on the worker, not in a sandbox.

Every hop of a redirect is checked like the first address, and the connection goes to the very address that
was checked, so that a name that resolves anew in between leads nowhere else.
"""

import asyncio
import re
import socket
import zlib
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from yarl import URL

from rollway.tools.builtin.allowed_hosts import AllowedHosts, Refused, is_public, read_hosts
from rollway.tools.builtin.html_text import html_text
from rollway.tools.definition import Tool, ToolFailed, ToolOutput, tool
from rollway.tools.results import cut_middle

MAX_REDIRECTS = 5
_TEXTS = re.compile(r"text/|application/(?:json|xml|javascript|x-yaml|yaml|\w[\w.-]*\+(?:json|xml))")


class Page(msgspec.Struct, frozen=True):
    """What a server answered."""

    url: URL  # after redirects
    status: int
    reason: str
    content_type: str
    charset: str | None
    body: bytes
    cut: bool  # there was more


def http_get_tool(
    hosts: Iterable[str], *, timeout: float = 20.0, max_bytes: int = 1 << 20, max_chars: int = 20_000
) -> Tool:
    """The ``http_get`` tool.

    Args:
        hosts: that may be fetched, see `rollway.tools.builtin.allowed_hosts`.
        timeout: seconds, redirects included. It must be below the `Limits.tool_timeout` of the rollout.
        max_bytes: of an answer that are read.
        max_chars: of its text that the model is shown; the middle of more is cut.

    Raises:
        UserError: there are no hosts, or an entry is none.
    """
    allowed = read_hosts(hosts)

    async def http_get(url: Annotated[str, "begins with http:// or https://"]) -> ToolOutput:
        try:
            async with asyncio.timeout(timeout):
                page = await _fetch(url, allowed, max_bytes)
            text = await asyncio.to_thread(_text, page)
        except Refused as refused:
            raise ToolFailed(str(refused)) from None
        except TimeoutError:
            raise ToolFailed(f"Error: no response within {timeout:g} seconds") from None
        note = "" if page.status == 200 else f"[HTTP {page.status} {page.reason}]\n"
        cut = f"\n[only the first {max_bytes} bytes were read]" if page.cut else ""
        return ToolOutput(note + cut_middle(text, max_chars) + cut, ok=page.status < 400)

    return tool(
        http_get,
        description=f"Fetch a web page as text. Allowed hosts: {', '.join(allowed.told())}.",
    )


async def _fetch(text: str, allowed: AllowedHosts, max_bytes: int) -> Page:
    import aiohttp  # slow to import

    url = allowed.check(text)
    connector = aiohttp.TCPConnector(resolver=_resolver(allowed), force_close=True)
    headers = {"User-Agent": "rollway", "Accept-Encoding": "gzip, deflate"}
    try:
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            auto_decompress=False,  # a small answer may unpack to a huge one
            trust_env=False,
        ) as session:
            for _ in range(MAX_REDIRECTS + 1):
                _check_literal(url, allowed)
                async with session.get(url, allow_redirects=False) as response:
                    target = response.headers.get("Location")
                    if response.status not in (301, 302, 303, 307, 308) or not target:
                        return await _read(response, url, max_bytes)
                    url = _redirected(url, target, allowed)
    except aiohttp.ClientError as error:
        refused = _cause(error)
        raise refused or Refused(f"Error: cannot fetch {url.host}: {error}") from None
    except ValueError as error:  # an address that only the HTTP library finds wrong
        raise Refused(f"Error: invalid web address: {error}") from None
    raise Refused(f"Error: more than {MAX_REDIRECTS} redirects")


def _redirected(url: URL, target: str, allowed: AllowedHosts) -> URL:
    try:
        return allowed.check(url.join(URL(target)))
    except ValueError as error:
        raise Refused(f"Error: it redirects to an invalid web address: {error}") from None
    except Refused as refused:
        raise Refused(f"Error: it redirects: {str(refused).removeprefix('Error: ')}") from None


def _check_literal(url: URL, allowed: AllowedHosts) -> None:
    """An IP address in the URL is never resolved, so it is checked here."""
    host, port = url.host or "", url.port or 0
    try:
        public = is_public(host)
    except ValueError:
        return  # a name
    if not public and not allowed.may_be_private(host, port):
        raise Refused(f"Error: {host} is not a public address")


def _resolver(allowed: AllowedHosts) -> Any:
    from aiohttp.abc import AbstractResolver, ResolveResult
    from aiohttp.resolver import ThreadedResolver

    class Checked(AbstractResolver):
        """Hands on only addresses that may be connected to."""

        def __init__(self) -> None:
            self._inner = ThreadedResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await self._inner.resolve(host, port, family)
            if allowed.may_be_private(host, port):
                return found
            public = [entry for entry in found if is_public(entry["host"])]
            if not public:
                raise OSError(None, f"{host} is not a public address")
            return public

        async def close(self) -> None:
            await self._inner.close()

    return Checked()


def _cause(error: BaseException) -> Refused | None:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        reason = error.os_error.strerror or str(error.os_error)
        return Refused(f"Error: {reason}")
    return None


async def _read(response: Any, url: URL, max_bytes: int) -> Page:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    unpack = zlib.decompressobj(wbits=47) if encoding in ("gzip", "x-gzip", "deflate") else None
    if unpack is None and encoding not in ("identity", ""):
        raise Refused(f"Error: the response has an unsupported encoding ({encoding})")
    body = bytearray()
    try:
        async for chunk in response.content.iter_chunked(1 << 14):
            body += unpack.decompress(chunk, max_bytes + 1 - len(body)) if unpack else chunk
            if len(body) > max_bytes:
                break
    except zlib.error:
        raise Refused("Error: the response cannot be decompressed") from None
    return Page(
        url,
        response.status,
        response.reason or "",
        response.content_type,
        response.charset,
        bytes(body[:max_bytes]),
        len(body) > max_bytes,
    )


def _text(page: Page) -> str:
    if not _TEXTS.match(page.content_type) or b"\0" in page.body[:4096]:
        raise Refused(f"Error: the response is not text ({page.content_type}, {len(page.body)} bytes)")
    try:
        text = page.body.decode(page.charset or "utf-8", "replace")
    except LookupError:  # a character set that Python does not know
        text = page.body.decode("utf-8", "replace")
    return html_text(text) if page.content_type in ("text/html", "application/xhtml+xml") else text
