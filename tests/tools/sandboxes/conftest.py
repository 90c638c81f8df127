"""Sandboxes for the tests, and what they leave on the host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import cache

import pytest
from container_image import PLAIN

from rollway.errors import UserError
from rollway.tools.sandboxes import Sandbox, SandboxLimits, SandboxSpec, check_backend, open_sandbox

MIB = 1 << 20

Opener = Callable[..., Awaitable[Sandbox]]


@cache
def no_bubblewrap() -> str | None:
    """Why bubblewrap cannot run here."""
    try:
        check_backend(SandboxSpec(backend="bubblewrap"))
    except UserError as error:
        return str(error)
    return None


@pytest.fixture
def bubblewrap() -> None:
    """Skips the test where bubblewrap cannot run."""
    if reason := no_bubblewrap():
        pytest.skip(reason)


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """``await opened(backend=..., memory=...)``: a sandbox that is closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_one(backend: str = "bubblewrap", network: bool = False, **limits: int) -> Sandbox:
            image = PLAIN if backend == "podman" else None
            bounds = SandboxLimits(**limits)
            spec = SandboxSpec(backend=backend, image=image, network=network, limits=bounds)  # type: ignore[arg-type]
            sandbox = await open_sandbox(spec)
            stack.push_async_callback(sandbox.close)
            return sandbox

        yield open_one


@pytest.fixture(params=["local", "bubblewrap"])
async def sandbox(request: pytest.FixtureRequest, opened: Opener) -> Sandbox:
    """A sandbox of either backend, with limits that are soon reached."""
    if request.param == "bubblewrap":
        request.getfixturevalue("bubblewrap")
    return await opened(request.param, output=4 * MIB, file_size=8 * MIB)


@pytest.fixture(params=["local", "bubblewrap", "podman"])
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of sandbox that can be opened here."""
    needs = {"bubblewrap": "bubblewrap", "podman": "engine"}
    if request.param in needs:
        request.getfixturevalue(needs[request.param])
    return str(request.param)


@pytest.fixture
async def any_sandbox(kind: str, opened: Opener) -> Sandbox:
    """A sandbox of every kind, in which a command is one of a plain `sh`."""
    return await opened(kind, disk=32 * MIB, file_size=8 * MIB)


@pytest.fixture
async def cell(bubblewrap: None, opened: Opener) -> Sandbox:
    """A bubblewrap sandbox with little of everything."""
    return await opened(memory=256 * MIB, processes=32, file_size=16 * MIB, disk=64 * MIB, output=4 * MIB)
