"""The one retry layer: every client tries through `with_retries`, and nothing above it tries again.

Only a failure that says so (`TryFailed.retry`) is tried again, every failed try is recorded, and no try is
begun or kept after the deadline. One try is over, and its connection closed, before the next begins.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec

from rollway.inference.errors import InferenceError, ServerUnreachable
from rollway.inference.protocol import Completion
from rollway.trajectory import Attempt, TurnTiming

_Reply = TypeVar("_Reply", bound=Completion)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often and how fast a failed try is repeated. Delays are in seconds.

    The wait before try n+1 is ``first_delay * 2**(n-1)``, at most ``max_delay``, times a random factor
    between 0.5 and 1; or what the server's ``Retry-After`` asks for, where that is longer. A server that asks
    for more than ``max_retry_after`` is given up at once.

    Raises:
        ValueError: ``tries`` is below 1, or a delay is negative.
    """

    tries: int = 5  # the first one included
    first_delay: float = 0.5
    max_delay: float = 30.0
    max_retry_after: float = 300.0

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"tries must be at least 1, got {self.tries}; 1 means no retry")
        for name in ("first_delay", "max_delay", "max_retry_after"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


DEFAULT_RETRY = RetryPolicy()


class TryFailed(Exception):
    """One try gave no reply. Never leaves `with_retries`, which raises ``error`` when it gives up."""

    def __init__(
        self, error: InferenceError, *, retry: bool, retry_after: float | None = None, at_once: bool = False
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry = retry
        self.retry_after = retry_after  # seconds that the server asked for
        self.at_once = at_once  # the next try asks for something else: it need not wait, and is no repetition


async def with_retries(
    attempt: Callable[[int], Awaitable[_Reply]],
    policy: RetryPolicy,
    *,
    server: str,
    deadline: float | None = None,
    rng: random.Random,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _Reply:
    """Call ``attempt(number)``, number counting from 0, until a try succeeds or must not be repeated.

    The completion comes back with its ``attempts`` and its ``timing``.

    Args:
        server: address for messages.
        deadline: `time.monotonic()` moment; a try that runs when it comes is cancelled.

    Raises:
        InferenceError: the error of the last try, or `ServerUnreachable` when the deadline came first;
            ``attempts`` has every try.
    """
    began = time.monotonic()
    if deadline is not None and deadline <= began:
        raise ServerUnreachable(f"the request's deadline passed before the request was sent to {server}")
    attempts: list[Attempt] = []
    corrections = 0  # tries after which something else was asked for
    while True:
        started = time.monotonic()
        try:
            completion = await _kept_before(deadline, attempt(len(attempts)), server, began)
            completion.attempts = attempts
            completion.timing = TurnTiming(queued=started - began, total=time.monotonic() - began)
            return completion
        except TryFailed as failed:
            failure = failed
        attempts.append(_record(failure.error, time.monotonic() - started))
        corrections += failure.at_once
        delay = 0.0 if failure.at_once else _delay(failure, policy, len(attempts) - corrections, rng)
        if delay is None or (deadline is not None and time.monotonic() + delay >= deadline):
            raise _final(failure.error, attempts) from failure
        await sleep(delay)


async def _kept_before(
    deadline: float | None, attempt: Awaitable[_Reply], server: str, began: float
) -> _Reply:
    if deadline is None:
        return await attempt
    try:
        async with asyncio.timeout(deadline - time.monotonic()) as limit:
            return await attempt
    except TimeoutError:
        if not limit.expired():
            raise
    error = ServerUnreachable(
        f"no reply from {server} before the request's deadline, after {time.monotonic() - began:.1f} s; "
        "extend the deadline or lower max_tokens"
    )
    raise TryFailed(error, retry=False)


def _delay(failure: TryFailed, policy: RetryPolicy, tries: int, rng: random.Random) -> float | None:
    """Seconds to wait before the next try; None when there must be none."""
    if not failure.retry or tries >= policy.tries:
        return None
    backoff = min(policy.max_delay, policy.first_delay * 2.0 ** (tries - 1)) * rng.uniform(0.5, 1.0)
    if failure.retry_after is None:
        return backoff
    if failure.retry_after > policy.max_retry_after:
        return None
    # A little later than asked, each its own little: else all that were sent away come back at once.
    return max(backoff, failure.retry_after * rng.uniform(1.0, 1.1))


def _record(error: InferenceError, duration: float) -> Attempt:
    return Attempt(error=type(error).__name__, message=str(error), status=error.status, duration=duration)


def _final(error: InferenceError, attempts: list[Attempt]) -> InferenceError:
    if len(attempts) > 1:
        message = f"{error} (gave up after {len(attempts)} tries)"
        return type(error)(message, status=error.status, attempts=attempts)
    error.attempts = attempts
    return error


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number, or a date as HTTP writes it.

    None when there is no header or it says neither; a date in the past is 0.0. ``now`` is in Unix seconds.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value, time.time() if now is None else now)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(date: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError):
        return None
