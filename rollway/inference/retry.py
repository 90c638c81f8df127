"""The one retry layer: every client tries through `with_retries`, and nothing above it tries again.

What is unreachable, overloaded, timed out or cut is tried again for as long as patience lasts; garbage a few
times; what the request itself is to blame for never. No try is begun or kept after the deadline, and one try
is over, and its connection closed, before the next begins.
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

from rollway.clock import RolloutClock, WaitKind
from rollway.inference.attempts import AttemptLog
from rollway.inference.errors import InferenceError, NoReplyInTime
from rollway.inference.gate import ServerGate
from rollway.inference.passing import Sent
from rollway.inference.protocol import Completion
from rollway.inference.tries import TryFailed, TryFault
from rollway.trajectory import TurnTiming

_Reply = TypeVar("_Reply", bound=Completion)

_BREAKS_PER_TRY = 4
"""Replies of one call that may break off for each of ``tries``. A server that goes away with the reply counts
as so many at once: such a request may be what kills it."""

_BAD_LUCK = 3  # tries after which the pause no longer doubles, where other calls get replies


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long and how often a failed try is repeated. Times are in seconds.

    A server that cannot be reached, that sends requests away, that does not answer in time or whose replies
    break off is tried again for ``patience``, counted from the first such failure of the call. A reply that
    is whole and of no use (a 500, no JSON) is tried ``tries`` times in all. Replies that break off although
    the server is there are given up after 4 times as many, and a request at which the server went away each
    time after ``tries``: so a request that kills its server does not kill it for half an hour.

    The wait before try n+1 is ``first_delay * 2**(n-1)``, at most ``max_delay`` (and at most 4 times
    ``first_delay`` while other calls get replies), times a random factor between 0.5 and 1; or what the
    server's ``Retry-After`` asks for, where that is longer. A server that asks for more than
    ``max_retry_after`` is given up at once.

    Raises:
        ValueError: ``tries`` is below 1, or a time is negative.
    """

    tries: int = 5  # the first one included
    first_delay: float = 0.5
    max_delay: float = 30.0
    max_retry_after: float = 300.0
    patience: float = 1800.0  # 0: ``tries`` bounds everything

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"tries must be at least 1, got {self.tries}; 1 means no retry")
        for name in ("first_delay", "max_delay", "max_retry_after", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


DEFAULT_RETRY = RetryPolicy()


async def with_retries(
    attempt: Callable[[int], Awaitable[_Reply]],
    policy: RetryPolicy,
    *,
    server: str,
    deadline: float | None = None,
    rng: random.Random,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    gate: ServerGate | None = None,
    clock: RolloutClock | None = None,
    request_id: str = "",
    tried: AttemptLog | None = None,
) -> _Reply:
    """Call ``attempt(number)``, number counting from 0, until a try succeeds or must not be repeated.

    The completion comes back with its ``attempts`` and its ``timing``.

    Args:
        server: address for messages.
        deadline: `time.monotonic()` moment; a try that runs when it comes is cancelled.
        gate: of the server, through which each try goes; None: this call has the server to itself.
        clock: on which the waits are entered.
        tried: which has every failed try, also of a call that is cancelled.

    Raises:
        NoReplyInTime: the deadline came first.
        InferenceError: the error of the last try; ``attempts`` has the tries.
    """
    call = _Call(
        policy,
        server,
        deadline,
        gate or ServerGate(server, patience=policy.patience),
        clock or RolloutClock(),
        rng,
        tried,
    )
    try:
        return await call.reply(attempt, sleep)
    except InferenceError as error:
        error.attempts, error.request_id = call.log.entries, request_id
        raise


class _Call:
    """One model call."""

    def __init__(
        self,
        policy: RetryPolicy,
        server: str,
        deadline: float | None,
        gate: ServerGate,
        clock: RolloutClock,
        rng: random.Random,
        tried: AttemptLog | None,
    ) -> None:
        self.log = AttemptLog()
        self._tried = tried
        self._server = server
        self._deadline = deadline
        self._gate = gate
        self._clock = clock
        self._began = time.monotonic()
        self._budget = _Budget(policy, self._began, rng)

    async def reply(
        self, attempt: Callable[[int], Awaitable[_Reply]], sleep: Callable[[float], Awaitable[None]]
    ) -> _Reply:
        if self._deadline is not None and self._deadline <= self._began:
            raise NoReplyInTime(
                f"the request's deadline passed before the request was sent to {self._server}"
            )
        last: tuple[Sent, TryFailed] | None = None
        while True:
            sent = self._gate.enter(self._clock)
            if sent is None:
                sent = await self._gate.entered(self._clock, self._deadline, first=not self.log.count)
                self._budget.waited(sent.queued)
            if last is not None:
                self._judge_crash(*last, sent)
            try:
                completion = await self._kept(sent, attempt(self.log.count))
            except TryFailed as failure:
                last = (sent, failure)
            else:
                completion.attempts = self.log.entries
                completion.timing = TurnTiming(
                    queued=sent.at - self._began, total=time.monotonic() - self._began
                )
                return completion
            await self._pause(*last, sleep)

    async def _kept(self, sent: Sent, attempt: Awaitable[_Reply]) -> _Reply:
        """One try, which the deadline or the gate may cut off."""
        try:
            async with asyncio.timeout_at(self._deadline) as limit:
                sent.limit = limit
                completion = await attempt
        except TryFailed as failure:
            self._gate.failed(sent, failure)
            raise
        except TimeoutError:
            self._gate.left(sent)
            if not limit.expired():
                raise
            if sent.cut is not None:
                raise TryFailed(sent.cut, retry=False) from None
            raise TryFailed(self._late(sent), retry=False) from None
        except BaseException:
            self._gate.left(sent)
            raise
        self._gate.answered(sent)
        return completion

    def _late(self, sent: Sent) -> NoReplyInTime:
        """The deadline came while a try was under way."""
        seconds = time.monotonic() - sent.at
        waits = self._clock.waits_now
        held = WaitKind.WEIGHT_UPDATE in waits
        if held:
            why = f"it was held back for {seconds:.1f} s by pause() or weight_update()"
        elif sent.stalled:
            why = f"it stands still, and had the request for {seconds:.1f} s; see its log"
        else:
            why = f"it had it for {seconds:.1f} s; extend the deadline or lower max_tokens"
        error = NoReplyInTime(f"no reply from {self._server} before the request's deadline: {why}")
        error.waiting_for = WaitKind.WEIGHT_UPDATE if held else WaitKind.STALL if sent.stalled else None
        error.in_reply, error.seconds = not held, seconds
        return error

    async def _pause(self, sent: Sent, failure: TryFailed, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Enter a failed try, and wait as long as the next one should.

        Raises:
            InferenceError: there must be no other.
        """
        now = time.monotonic()
        self.log.add(failure.error, now - sent.at)
        if self._tried is not None:
            self._tried.add(failure.error, now - sent.at)
        if failure.retry:
            self._clock.waited(failure.fault.wait, sent.at, now)
        delay = self._budget.delay(
            failure, now, held=self._gate.paces(failure.fault), served=self._gate.serves(now)
        )
        if delay is None or (self._deadline is not None and now + delay >= self._deadline):
            raise self._given_up(failure) from failure
        if delay > 0:
            with self._clock.waiting(failure.fault.wait):
                await sleep(delay)

    def _judge_crash(self, sent: Sent, failure: TryFailed, now: Sent) -> None:
        """Whether the server went away with the last try once too often."""
        if failure.fault is not TryFault.BROKEN or sent.outages == now.outages:
            return
        if self._budget.crashed():
            self._gate.left(now)
            raise self._given_up(failure) from failure

    def _given_up(self, failure: TryFailed) -> InferenceError:
        error = failure.error
        if self.log.count > 1:
            lasted = self._budget.lasted()
            over = "" if lasted is None else f" in {lasted:.0f} s"
            error.args = (f"{error} (gave up after {self.log.count} tries{over})",)
        return error


class _Budget:
    """What is left of one call's tries and patience."""

    def __init__(self, policy: RetryPolicy, began: float, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._garbage = 0
        self._breaks = 0
        self._failures = 0  # that patience is for
        self._first: float | None = None  # moment of the first of these, moved by what was waited in a queue

    def waited(self, seconds: float) -> None:
        """So long the call was in the client's queue while others had their turn."""
        if self._first is not None:
            self._first += seconds

    def lasted(self) -> float | None:
        """Seconds since the first failure that patience is for; None: there was none."""
        return None if self._first is None else time.monotonic() - self._first

    def crashed(self) -> bool:
        """The server went away with a reply that broke off. Whether that is to be the last time."""
        self._breaks += _BREAKS_PER_TRY - 1
        return self._breaks >= _BREAKS_PER_TRY * self._policy.tries

    def delay(self, failure: TryFailed, now: float, *, held: bool, served: bool) -> float | None:
        """Seconds to wait before the next try; None when there must be none.

        ``held``: the next try has to wait at the gate in any case. ``served``: other
        calls do get replies, so this one had bad luck and need not hold back for long.
        """
        if failure.fault is TryFault.FINAL:
            return None
        if failure.at_once:
            return 0.0
        if failure.retry_after is not None and failure.retry_after > self._policy.max_retry_after:
            return None
        if failure.fault is TryFault.GARBAGE:
            self._garbage += 1
            return self._backoff(self._garbage, failure) if self._garbage < self._policy.tries else None
        self._failures += 1
        if failure.fault is TryFault.BROKEN:
            self._breaks += 1
            if self._breaks >= _BREAKS_PER_TRY * self._policy.tries:
                return None
        if self._first is None:
            self._first = now
        if not self._policy.patience:
            return self._backoff(self._failures, failure) if self._failures < self._policy.tries else None
        left = self._first + self._policy.patience - now
        if left <= 0 or (failure.retry_after or 0.0) > left:
            return None
        if held and not failure.retry_after:
            return 0.0
        doublings = min(self._failures, _BAD_LUCK) if served else self._failures
        return min(self._backoff(doublings, failure), left)

    def _backoff(self, failures: int, failure: TryFailed) -> float:
        policy = self._policy
        longest = min(policy.max_delay, policy.first_delay * 2.0 ** min(failures - 1, 60))
        backoff = longest * self._rng.uniform(0.5, 1.0)
        if failure.retry_after is None:
            return backoff
        # A little later than asked, each its own little: else all that were sent away come back at once.
        return max(backoff, failure.retry_after * self._rng.uniform(1.0, 1.1))


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
