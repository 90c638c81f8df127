"""Which addresses on the web a rollout may fetch. Nothing is allowed that was not listed.

A listed host is a name (``example.com``), all names below one (``*.example.com``), every public host (``*``),
or an IP address, each with or without a port; without one, the scheme's own port is meant. An address that
is not public (loopback, private, link-local) is reached only where that very host stands in the list with
its port.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

import msgspec
from yarl import URL

from rollway.errors import UserError

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """The address may not be fetched. The message is for the model."""


class AllowedHost(msgspec.Struct, frozen=True):
    """One entry of the list."""

    host: str  # in lower case; "*" is every public host
    port: int | None = None  # None: the scheme's own
    below: bool = False  # all names below it, and not itself

    def covers(self, url: URL) -> bool:
        host = (url.host or "").rstrip(".")
        port = _PORTS[url.scheme] if self.port is None else self.port
        if url.port != port:
            return False
        if self.below:
            return host.endswith("." + self.host) and not is_address(host)
        return host == self.host or (self.host == "*" and not is_address(host))


class AllowedHosts(msgspec.Struct, frozen=True):
    """The list, read by `read_hosts`."""

    entries: tuple[AllowedHost, ...]

    def check(self, text: str | URL) -> URL:
        """The address, if it may be fetched.

        Raises:
            Refused: it may not, or is none.
        """
        try:
            url = URL(text) if isinstance(text, str) else text
            port = url.port
        except ValueError as error:
            raise Refused(f"Error: invalid web address: {error}") from None
        if url.scheme not in _PORTS:
            raise Refused("Error: the address must begin with http:// or https://")
        if url.raw_user is not None or url.raw_password is not None:
            raise Refused("Error: the address must not contain a user name or password")
        if not url.host or not port:
            raise Refused("Error: the address has no host")
        if not any(entry.covers(url) for entry in self.entries):
            raise Refused(f"Error: {_told(url)} is not allowed; allowed hosts: {', '.join(self.told())}")
        return url

    def may_be_private(self, host: str, port: int) -> bool:
        """Was this very host listed with its port?"""
        return any(
            entry.host == host.rstrip(".") and entry.port == port and not entry.below
            for entry in self.entries
        )

    def told(self) -> list[str]:
        """The list, as a person would write it."""
        words = []
        for entry in self.entries:
            host = f"[{entry.host}]" if ":" in entry.host else entry.host
            port = "" if entry.port is None else f":{entry.port}"
            words.append(f"{'*.' if entry.below else ''}{host}{port}")
        return words


def read_hosts(hosts: Iterable[str]) -> AllowedHosts:
    """Read a list of hosts.

    Raises:
        UserError: an entry is no host, or the list is empty.
    """
    if isinstance(hosts, str):
        raise UserError(f"http_get: hosts must be a list, such as [{hosts!r}]")
    entries = tuple(_read(entry) for entry in hosts)
    if not entries:
        raise UserError('http_get: no hosts given; list the allowed ones, such as "example.com"')
    return AllowedHosts(entries)


def _read(entry: str) -> AllowedHost:
    below = entry.startswith("*.")
    rest = entry[2:] if below else entry
    try:
        plain = "any.invalid" + rest[1:] if rest == "*" or rest.startswith("*:") else rest
        url = URL(f"http://{plain}")
        explicit = url.explicit_port
        host = (url.host or "").rstrip(".")
    except ValueError:
        host, explicit, url = "", None, URL()
    if not _HOST.fullmatch(host) or url.raw_user is not None or url.raw_path_qs != "/" or url.raw_fragment:
        raise UserError(
            f"http_get: {entry!r} is not a host; write example.com, *.example.com, example.com:8080 or an IP "
            f"address"
        )
    return AllowedHost("*" if plain != rest else host, explicit, below)


def is_address(host: str) -> bool:
    """Is it an IP address, in any of the forms that a resolver takes (``127.1``, ``0x7f000001``)?"""
    try:
        ipaddress.ip_address(host.partition("%")[0])
        return True
    except ValueError:
        pass
    try:
        socket.inet_aton(host)
        return True
    except (OSError, UnicodeError):
        return False


def is_public(address: str) -> bool:
    """Is it an address of the open internet, and so is every address that it stands for?"""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(part is not None and not is_public(str(part)) for part in inner):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast


def _told(url: URL) -> str:
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host
    return f"{host}:{url.port}" if not url.is_default_port() else str(host)
