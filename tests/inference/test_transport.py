"""Addresses, and what the transport takes for sensible limits. The wire is tested with the clients."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from rollway.inference.transport import Timeouts, Transport, split_base_url


@pytest.mark.parametrize(
    ("base_url", "server", "api"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000", "/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000", "/v1"),
        (" http://127.0.0.1:8000/v1/\n", "http://127.0.0.1:8000", "/v1"),
        ("http://127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1:8000", "/v1"),
        ("https://gate.example/api/v1", "https://gate.example/api", "/v1"),
        ("https://gate.example/my/model", "https://gate.example/my/model", "/v1"),
        ("https://gate.example/v1beta/openai/", "https://gate.example", "/v1beta/openai"),
        ("http://[::1]:8000", "http://[::1]:8000", "/v1"),
        ("http://v1:8000", "http://v1:8000", "/v1"),
    ],
)
def test_an_address_is_understood_with_and_without_its_version(base_url: str, server: str, api: str) -> None:
    assert split_base_url(base_url) == (server, api)


@pytest.mark.parametrize(
    "base_url", ["", "127.0.0.1:8000", "localhost", "ftp://x", "http://", "http://x/?a=1"]
)
def test_what_is_no_http_address_is_refused_in_one_line(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"such as http://127\.0\.0\.1:8000"):
        split_base_url(base_url)


@pytest.mark.parametrize("limits", [{"connect": 0.0}, {"first_byte": -1.0}, {"total": 0.0}])
def test_a_time_limit_that_makes_no_sense_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Timeouts(**limits)


async def test_connections_never_use_up_the_files_that_the_process_may_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    transport = Transport("http://s", headers={}, timeouts=Timeouts(), max_connections=10_000)
    connector = transport.open().connector
    await transport.close()
    assert connector is not None
    assert 0 < connector.limit < 1024
