"""Conditions of the machine that a client meets."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def full_listener() -> Iterator[str]:
    """The address of a listener whose queue is full: it answers no further handshake."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that refuses connections and is given to nobody else. A server may still listen on it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def many_open_files() -> Iterator[None]:
    """As many open files as 2,000 connections need, both of whose ends are in this process."""
    needed = 6000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"this machine allows {hard} open files; the test needs {needed}")
    enough = soft if soft == resource.RLIM_INFINITY else max(soft, needed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
