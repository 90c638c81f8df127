"""What was sent to a model server and what came back, as it was, for those who must see it themselves.

The invariant: no key is in it. Headers are left out; what stands in them as a key, and the value of a field
that is named like one, is replaced wherever it stands.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

REDACTED = "***"

_KEY_NAMES = "api[-_]?key|authorization|cookie|secret|password|(?:access|auth|bearer)[-_]?token"
_NAMES_A_KEY = re.compile(rf"(?:{_KEY_NAMES})$", re.IGNORECASE)
_MAY_NAME_A_KEY = re.compile(rf'(?:{_KEY_NAMES})"\s*:'.encode(), re.IGNORECASE)
_LEAST_KEY = 8  # characters: "EMPTY", which many servers are given, is no secret, and a word of many replies


class Exchange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request, and what came of it."""

    request_id: str  # as sent: each try of a model call has its own
    server: str
    path: str
    started: float  # Unix seconds
    seconds: float
    request: msgspec.Raw  # its body, JSON
    status: int | None = None  # None: no whole answer came
    reply: str | None = None  # the answer's body, to the letter
    error: str = ""  # why no answer came


class ExchangeLog:
    """The exchanges of one rollout, encoded, in the order in which they ended."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    @contextmanager
    def exchange(
        self, server: str, path: str, request_id: str, body: bytes, headers: Mapping[str, str]
    ) -> Iterator[Answer]:
        """Around one request with these headers. The block enters the answer; without one, what it raised is
        told."""
        answer, error = Answer(), ""
        started, began = time.time(), time.monotonic()
        try:
            yield answer
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}".rstrip(": ")
            raise
        finally:
            keys = _keys_in(headers)
            entry = Exchange(
                request_id=request_id,
                server=server,
                path=path,
                started=started,
                seconds=round(time.monotonic() - began, 6),
                request=msgspec.Raw(_redacted(body, keys)),
                status=answer.status,
                reply=None
                if answer.body is None
                else _redacted(answer.body, keys).decode("utf-8", "backslashreplace"),
                error=_redacted(error.encode(), keys).decode(),
            )
            self.lines.append(msgspec.json.encode(entry))


class Answer:
    """What came back, once it is there."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body: bytes | None = None

    def came(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body


def _keys_in(headers: Mapping[str, str]) -> list[bytes]:
    values = [value for name, value in headers.items() if _NAMES_A_KEY.search(name)]
    keys = [value.removeprefix("Bearer ").strip() for value in values]
    return [key.encode() for key in keys if len(key) >= _LEAST_KEY]


def _redacted(body: bytes, keys: list[bytes]) -> bytes:
    for key in keys:
        body = body.replace(key, REDACTED.encode())
    if not _MAY_NAME_A_KEY.search(body):
        return body
    try:
        return msgspec.json.encode(_without_keys(msgspec.json.decode(body)))
    except (msgspec.DecodeError, RecursionError):  # no JSON: it has no fields
        return body


def _without_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: REDACTED
        if isinstance(item, str) and item and _NAMES_A_KEY.search(name)
        else _without_keys(item)
        for name, item in value.items()
    }
