"""The embedded policy on a server of our own, for the time of one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rollway.evaluation.config import ModelConfig


class StartingServer(Protocol):
    """A server process that has been started."""

    async def ready(self) -> str:
        """Wait until it answers, and return its address. Raises `UserError` when it ends instead."""
        ...


@contextmanager
def embedded_server(model: ModelConfig) -> Iterator[StartingServer]:
    """Start it; it is stopped in the end.

    Raises:
        UserError: there is no such policy.
    """
    raise NotImplementedError
    yield
