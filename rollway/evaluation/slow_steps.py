"""A step before the first rollout that takes long says what it is doing; one that is quick says nothing.

So a mistake in the request, which is found at once, stays the one line that is printed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

SLOW_SECONDS = 0.7
"""Who waits longer wants to know for what."""


@contextmanager
def told_if_slow(console: Console, line: str, *, after: float = SLOW_SECONDS) -> Iterator[None]:
    """Print ``line`` if the block has not ended ``after`` so many seconds, whatever holds up its thread."""
    timer = threading.Timer(after, console.print, (line,), {"highlight": False, "markup": False})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a line that is being printed is not torn by what comes next
