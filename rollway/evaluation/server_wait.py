"""Waiting for a server that is not there yet, before the first rollout.

The invariant: only what time may mend is waited for. A server that answers and refuses is a mistake of the
request, and said at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rollway.inference import InferenceError, ServerOverloaded, ServerUnreachable

_Found = TypeVar("_Found")

_SOON = 2.0
"""Seconds for which a server that is there, and answers that it is busy, is asked again in any case."""

_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.25, 3.0, 1.5  # seconds between two questions


async def once_there(
    ask: Callable[[], Awaitable[_Found]], *, server: str, seconds: float | None, tell: Callable[[str], None]
) -> _Found:
    """What ``ask`` returns, as soon as the server is there.

    Args:
        ask: raises `ServerUnreachable`, or `ServerOverloaded`, while it is not.
        seconds: to wait at most; None: not at all, but for a server that is only busy at this moment.
        tell: gets one line when it begins to wait, and one when the server is there.

    Raises:
        InferenceError: of ``ask``; the last one where the time was used up.
    """
    began, pause, told = time.monotonic(), _FIRST_PAUSE, False
    while True:
        try:
            found = await ask()
        except (ServerUnreachable, ServerOverloaded) as error:
            at_least = _SOON if isinstance(error, ServerOverloaded) else 0.0
            left = max(seconds or 0.0, at_least) - (time.monotonic() - began)
            if left <= 0:
                raise _late(error, time.monotonic() - began) if told else error from None
            if not told and seconds is not None:
                tell(f"waiting for {server} ({error.reason or error}), for up to {seconds:g} s")
                told = True
            await asyncio.sleep(min(pause, left))
            pause = min(_LONGEST_PAUSE, _GROWTH * pause)
        else:
            if told:
                tell(f"{server} is there after {time.monotonic() - began:.0f} s")
            return found


def _late(error: InferenceError, seconds: float) -> InferenceError:
    error.args = (f"{error} (waited {seconds:.0f} s)",)
    return error
