"""HTTP to one server: a running POST has a connection to itself, and a POST that is given up closes it.

Servers abort a request whose connection closes, so cancelling, a deadline and a retry leave nothing running.
Faults of the connection become `TryFailed` here; what an answer's status means is read elsewhere.
"""

from __future__ import annotations

import asyncio
import io
import re
import resource
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from rollway.inference.errors import ServerUnreachable
from rollway.inference.exchanges import ExchangeLog
from rollway.inference.faults import one_line, unreachable
from rollway.inference.presence import Found, Presence, found_status
from rollway.inference.tries import TryFailed, TryFault

if TYPE_CHECKING:
    import aiohttp

# Below the 5 s after which uvicorn closes an idle connection: else a request meets the closing door.
_KEEP_ALIVE = 3.0
_PEER_GONE = (15, 5, 4)
"""Seconds without a packet, then between questions, and how many of these the other machine may leave
unanswered. A machine that lost power closes no connection; one that only waits for its model answers them."""
_COPY_ABOVE = 1 << 20  # bytes; aiohttp writes larger bodies in pieces when they are files
_SPARE_FILES = 256  # open files left for everything else in the process
_VERSION_SUFFIX = re.compile(r"/v\d[^/]*(?:/openai)?$")


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds that one try may take; ``None`` is no bound. A reply that is not streamed sends its first byte
    when it is complete, so ``first_byte`` must leave time for the whole generation.

    Raises:
        ValueError: a bound is not positive.
    """

    connect: float | None = 30.0  # to open the connection
    first_byte: float | None = None  # from the start of the try to the answer's status line
    total: float | None = 3600.0  # from the start of the try to the last byte

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"timeouts.{name} must be positive or null, got {value}")


DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True)
class HttpReply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes


def split_base_url(base_url: str) -> tuple[str, str]:
    """The server's address and the path of its OpenAI API: ``("http://host:8000", "/v1")``.

    Both ``http://host:8000`` and ``http://host:8000/v1`` are understood.

    Raises:
        ValueError: it is no http address.
    """
    url = base_url.strip().rstrip("/").removesuffix("/chat/completions")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"base_url must be an address such as http://127.0.0.1:8000, got {base_url!r}")
    version = _VERSION_SUFFIX.search(parts.path)
    return (url[: -len(version[0])], version[0]) if version else (url, "/v1")


def json_headers(api_key: str | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The headers of every request to a server: JSON, ``more``, and the key as a bearer token."""
    headers = {"Content-Type": "application/json", **(more or {})}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return headers


class Transport:
    """A pool of connections to one server. Opened at the first request, closed with `close`."""

    def __init__(
        self, server: str, *, headers: Mapping[str, str], timeouts: Timeouts, max_connections: int
    ) -> None:
        self.server = server
        self._headers = dict(headers)
        self._timeouts = timeouts
        self.max_connections = _within_file_limit(max_connections)
        self._session: aiohttp.ClientSession | None = None
        self._asking: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def open(self) -> aiohttp.ClientSession:
        """The session, made at the first call.

        Raises:
            RuntimeError: the client is closed, or was first used on another event loop.
        """

        loop = asyncio.get_running_loop()
        if self._closed:
            raise RuntimeError(f"the client of {self.server} is closed; make a new one")
        if self._session is None:
            self._session = self._new_session(limit=self.max_connections, keepalive_timeout=_KEEP_ALIVE)
            self._loop = loop
        if self._loop is not loop:
            raise RuntimeError(
                f"the client of {self.server} belongs to another event loop; make one per loop"
            )
        return self._session

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], exchanges: ExchangeLog | None = None
    ) -> HttpReply:
        """Send JSON and read the whole answer, whatever its status. Both are entered in ``exchanges``.

        Raises:
            TryFailed: with `ServerUnreachable`; to be tried again unless the address is wrong, or the client
                was closed during the request.
        """
        data = io.BytesIO(body) if len(body) >= _COPY_ABOVE else body
        if exchanges is None:
            return await self._request("POST", path, data, headers, self._timeouts)
        request_id = headers.get("X-Request-Id", "")
        with exchanges.exchange(self.server, path, request_id, body, {**self._headers, **headers}) as answer:
            reply = await self._request("POST", path, data, headers, self._timeouts)
            answer.came(reply.status, reply.body)
            return reply

    async def get(self, path: str, timeouts: Timeouts) -> HttpReply:
        """Like `post`, for short questions with time limits of their own."""
        return await self._request("GET", path, None, {}, timeouts)

    async def probe(self, path: str, seconds: float) -> Found:
        """Ask whether the server is there, on a connection of its own: those of the requests may be all in
        use, or lead to a server that is gone."""
        import aiohttp

        if self._asking is None:
            self._asking = self._new_session(limit=1, force_close=True)
        try:
            async with asyncio.timeout(seconds):
                async with self._asking.get(
                    self.server + path, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=None)
                ) as response:
                    return found_status(response.status)
        except TimeoutError:
            return Found(Presence.SILENT, f"no answer within {seconds:g} s")
        except aiohttp.ClientConnectorError as error:
            return Found(Presence.REFUSED, _words_of(error))
        except aiohttp.ClientError as error:
            return Found(Presence.BEHIND, one_line(str(error)) or type(error).__name__)

    async def close(self) -> None:
        """Close every connection; requests that are running fail. Closing twice is fine."""
        self._closed = True
        for session in (self._session, self._asking):
            if session is not None:
                await session.close()

    def _new_session(self, **options: Any) -> aiohttp.ClientSession:
        import aiohttp

        try:
            connector = aiohttp.TCPConnector(socket_factory=_watched_socket, **options)
        except TypeError:  # aiohttp before 3.12
            connector = aiohttp.TCPConnector(**options)
        return aiohttp.ClientSession(
            connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def _request(
        self,
        method: str,
        path: str,
        data: bytes | io.BytesIO | None,
        headers: Mapping[str, str],
        times: Timeouts,
    ) -> HttpReply:
        import aiohttp

        if self._closed:
            raise TryFailed(self._closed_error(), retry=False)
        session = self.open()
        try:
            async with time_limit(times.total, self.server, "whole reply", "total"):
                async with time_limit(times.first_byte, self.server, "first byte", "first_byte"):
                    response = await session.request(
                        method,
                        self.server + path,
                        data=data,
                        headers=headers,
                        allow_redirects=False,
                        timeout=aiohttp.ClientTimeout(total=None, sock_connect=times.connect),
                    )
                async with response:
                    return HttpReply(response.status, response.headers, await response.read())
        except aiohttp.ClientError as error:
            raise self._failure(error) from error

    def _closed_error(self) -> ServerUnreachable:
        return ServerUnreachable(f"the client of {self.server} was closed before the reply arrived")

    def _failure(self, error: aiohttp.ClientError) -> TryFailed:
        if self._closed:
            return TryFailed(
                ServerUnreachable(f"the client of {self.server} was closed during the request"), retry=False
            )
        return TryFailed(_connection_error(self.server, error), fault=_fault_of(error))


def _within_file_limit(connections: int) -> int:
    """As many connections as the process may open files; requests beyond that wait for their turn."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, allowed - _SPARE_FILES))


def _watched_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices when the other machine is gone."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    for name, value in zip(names, _PEER_GONE, strict=True):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made  # aiohttp itself switches the questions on


def _fault_of(error: aiohttp.ClientError) -> TryFault:
    """Whether the same request may do better on a new connection, and when."""
    import aiohttp

    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.InvalidURL)):
        return TryFault.FINAL
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TryFault.UNAVAILABLE
    if isinstance(error, aiohttp.ClientConnectorError):
        return TryFault.AWAY
    if isinstance(error, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
        return TryFault.BROKEN
    return TryFault.FINAL


def _words_of(error: aiohttp.ClientConnectorError) -> str:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name is unknown"
    refused = isinstance(error.os_error, ConnectionRefusedError)
    return "connection refused" if refused else one_line(str(error.os_error))


def _connection_error(server: str, error: aiohttp.ClientError) -> ServerUnreachable:
    import aiohttp

    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return unreachable(server, "timed out connecting")
    if isinstance(error, aiohttp.ClientSSLError):
        return unreachable(
            server, f"the TLS handshake failed; check whether the address should start with http://: {error}"
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return unreachable(server, _words_of(error))
    if isinstance(error, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
        what = one_line(str(error)) or type(error).__name__
        return ServerUnreachable(
            f"{server} closed the connection before its reply was complete ({what}); see its log"
        )
    return unreachable(server, f"the reply is not HTTP: {error}")


class time_limit:  # noqa: N801 (used like asyncio.timeout, which it wraps)
    """Cut off what is inside after ``seconds`` (None: never), as a `TryFailed`."""

    __slots__ = ("_limit", "_seconds", "_told")

    def __init__(self, seconds: float | None, server: str, what: str, field: str) -> None:
        self._seconds, self._told = seconds, (server, what, field)
        self._limit: asyncio.Timeout | None = None

    async def __aenter__(self) -> None:
        if self._seconds is not None:  # most requests have one limit of three, and each costs
            self._limit = asyncio.timeout(self._seconds)
            await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._limit is None:
            return
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            server, what, field = self._told
            message = f"{server} sent no {what} within {self._seconds:g} s; raise timeouts.{field}"
            raise TryFailed(ServerUnreachable(message), fault=TryFault.TIMED_OUT) from None
