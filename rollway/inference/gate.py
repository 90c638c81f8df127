"""One gate per server in each client: every try passes it, and while the server is away all wait for it.

The invariant: a server that is away, or stands still, is asked for by one cheap probe at a time and by nobody
else; whoever waits is let out again when it answers, a few at first, or is failed when patience is used up.
While all is well a try costs a few comparisons.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict

import msgspec

from rollway.clock import RolloutClock, WaitKind
from rollway.inference import gate_words
from rollway.inference.errors import (
    InferenceError,
    InvalidReply,
    ServerUnreachable,
)
from rollway.inference.overload import DEFAULT_PAUSES, OverloadLimit, Pauses
from rollway.inference.passing import Sent, Waiter
from rollway.inference.presence import Found, Presence, Probe
from rollway.inference.server_report import ServerReport
from rollway.inference.tries import TryFailed, TryFault

_log = logging.getLogger(__name__)

NO_BOUND = 1_000_000
"""Places of a server of which the client has no bound of its own."""


class GateTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, but for ``let_out``."""

    quiet: float = 2.0  # with calls in flight and no sign of life for so long, the server is asked
    doubt: float = 0.25  # an answer to that may take; later ones count as stall if none comes
    answer: float = 2.0  # a probe that takes longer was not answered
    first_pause: float = 0.5  # between two probes, growing to
    longest_pause: float = 3.0
    tell: float = 5.0  # a stall is told in the log once it has lasted so long
    step: float = 0.05  # after an outage calls are let out in steps, each twice as large as the one before
    let_out: int = 16  # calls in the first step


DEFAULT_TIMES = GateTimes()
_GLANCES = 3  # probes that something on the way answers, before the server is taken to be away
_GROWTH = 1.5
_LATELY = 5.0  # seconds
_SERVED = (TryFault.FINAL, TryFault.GARBAGE)
"""Of tries with a status that the server itself has read and answered."""


class ServerGate:
    """Bound to the event loop of its client.

    Args:
        server: its address.
        probe: asks for it; None: nobody can, so the gate never closes.
        patience: seconds that calls wait for a server of which nothing is heard; 0: they do not, and the gate
            never closes.
        most: requests at once, at best.
    """

    def __init__(
        self,
        server: str,
        probe: Probe | None = None,
        *,
        patience: float,
        most: int = NO_BOUND,
        times: GateTimes = DEFAULT_TIMES,
        pauses: Pauses = DEFAULT_PAUSES,
    ) -> None:
        self.server = server
        self.outages = 0  # times that the server went away
        self._probe = probe if patience > 0 else None
        self._patience = patience
        self._times = times
        self._limit = OverloadLimit(most, pauses)
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()
        self._in_flight: set[Sent] = set()
        self._away: WaitKind | None = None  # AWAY or STALL while the gate is closed
        self._reason: InferenceError | None = None  # of that, or of an outage by overload
        self._words = ""  # the same in few words, where a probe found it
        self._since = 0.0  # moment from which on it counts
        self._told = False
        self._quota: int | None = None  # calls that may still be let out in this step; None: all
        self._heard = 0.0  # moment of the last sign of life
        self._good = 0.0  # moment of the last reply
        self._watch: asyncio.TimerHandle | None = None
        self._step: asyncio.TimerHandle | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    # Passing

    def enter(self, clock: RolloutClock) -> Sent | None:
        """Pass at once; None: `entered` has to be waited for."""
        now = time.monotonic()
        if self._away is not None or self._quota is not None or self._waiters:
            return None
        return self._pass(clock, now) if self._limit.has_room(now) else None

    async def entered(self, clock: RolloutClock, deadline: float | None, *, first: bool) -> Sent:
        """Wait until one may pass. ``first``: it is the call's first try.

        Raises:
            NoReplyInTime: the deadline (of `time.monotonic`) came first.
            ServerUnreachable, ServerOverloaded: patience was used up first.
        """
        began = time.monotonic()
        if self._expired(began):
            if self._in_flight or self._waiters or not first:
                raise self._lasting(began)
            return self._pass(clock, began)  # this one finds out whether it is back
        waiter = Waiter(clock, self._kind(), asyncio.get_running_loop().create_future())
        self._waiters[waiter] = None
        self._let_out()
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await waiter.passed
        except BaseException as error:
            self._withdraw(waiter)
            if isinstance(error, TimeoutError) and limit.expired():
                seconds = time.monotonic() - began
                raise gate_words.too_late(self.server, waiter.kind, self._reason, seconds) from None
            raise

    def paces(self, fault: TryFault) -> bool:
        """Whether a call whose try failed so may come back at once, because it has to wait here."""
        if self._away is not None:
            return True
        if fault is not TryFault.OVERLOADED:
            return False
        return bool(self._waiters) or not self._limit.has_room(time.monotonic())

    def serves(self, now: float) -> bool:
        """Whether somebody got a reply lately."""
        return self._good > 0 and now - self._good < _LATELY

    def _pass(self, clock: RolloutClock, now: float) -> Sent:
        sent = Sent(clock, now, self._limit.sent(), self.outages)
        if not self._in_flight:
            self._heard = now
        self._in_flight.add(sent)
        if self._watch is None and self._probe is not None:
            self._watch = asyncio.get_running_loop().call_later(self._times.quiet, self._look, now)
        return sent

    def _withdraw(self, waiter: Waiter) -> None:
        """It waits no longer; where it had just been let out, its place is free again."""
        if self._waiters.pop(waiter, waiter) is None:
            waiter.over()
        elif not waiter.passed.cancelled() and waiter.passed.exception() is None:
            self.left(waiter.passed.result())

    def _let_out(self) -> None:
        """Let pass who may."""
        now = time.monotonic()
        while self._waiters and self._away is None and self._quota != 0 and self._limit.has_room(now):
            waiter, _ = self._waiters.popitem(last=False)
            waiter.over()
            if waiter.passed.done():  # it was cancelled a moment ago
                continue
            if self._quota is not None:
                self._quota -= 1
            sent = self._pass(waiter.clock, now)
            sent.queued = waiter.queued
            waiter.passed.set_result(sent)
        if self._waiters and self._limit.outage and not self._limit.in_flight and self._resume is None:
            loop = asyncio.get_running_loop()
            self._resume = loop.call_later(max(0.0, self._limit.resume_at - now), self._resumed)

    def _resumed(self) -> None:
        self._resume = None
        self._tell(time.monotonic())
        self._let_out()

    # What came of it

    def answered(self, sent: Sent) -> None:
        """It got a reply."""
        now = time.monotonic()
        self._end(sent)
        self._heard = self._good = now
        outage = self._limit.outage
        self._limit.answered(sent.regime, now, pressed=bool(self._waiters))
        if self._away is not None or outage:
            self._open()
        elif self._waiters:
            self._let_out()

    def failed(self, sent: Sent, failure: TryFailed) -> None:
        """It got none that is of use."""
        fault, reason = failure.fault, failure.error
        if isinstance(reason, InvalidReply) or (reason.status is not None and fault in _SERVED):
            self.answered(sent)
            return
        now = time.monotonic()
        self._end(sent)
        if reason.status is not None:
            self._heard = now
        if fault is TryFault.OVERLOADED:
            self._sent_away(sent, failure, now)
        elif fault is TryFault.AWAY:
            self._close(WaitKind.AWAY, reason, now)
        elif fault in (TryFault.UNAVAILABLE, TryFault.BROKEN) and self._good < sent.at:
            self._ask(reason)
        if self._waiters:
            self._let_out()

    def left(self, sent: Sent) -> None:
        """It was given up: nothing is known of the server."""
        self._end(sent)
        if self._waiters:
            self._let_out()

    def _end(self, sent: Sent) -> None:
        self._in_flight.discard(sent)
        self._limit.ended()
        if sent.stall is not None:
            sent.clock.end_wait(sent.stall, keep=self._away is not None)

    def _sent_away(self, sent: Sent, failure: TryFailed, now: float) -> None:
        before, outage = self._limit.limit, self._limit.outage
        self._limit.sent_away(sent.regime, now, failure.retry_after)
        if self._away is not None:
            return
        if self._limit.outage and not outage:
            self._reason, self._words = failure.error, failure.error.reason
            self._count_from(now)
        elif before is None and self._limit.limit is not None:
            self._since = now
            for waiter in self._waiters:
                waiter.waits_for(self._kind())

    # Away and back

    def _close(self, kind: WaitKind, reason: InferenceError, since: float) -> None:
        """Nobody passes until the server is heard again."""
        if self._probe is None or self._away is kind:
            return
        if self._away is None:
            self.outages += 1
            if not self._limit.outage:
                self._count_from(since)
        self._away, self._reason = kind, reason
        self._words = self._words if self._asking is not None else reason.reason
        self._quota = None
        if self._step is not None:
            self._step.cancel()
            self._step = None
        for waiter in self._waiters:
            waiter.waits_for(kind)
        self._ask(reason)

    def _open(self) -> None:
        """The server is heard again: let out who waits, a few at first."""
        now = time.monotonic()
        if self._told:
            _log.warning("server %s is back after %.0f s", self.server, now - self._since)
        self._settle()
        self._away = self._reason = None
        self._told, self._words = False, ""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self._limit.outage:  # it is there again, and still sends all away
            self._count_from(now)
        if len(self._waiters) > self._times.let_out:
            self._stepped(self._times.let_out)
            return
        for waiter in self._waiters:
            waiter.waits_for(self._kind())
        self._let_out()

    def _stepped(self, quota: int) -> None:
        """One more step of letting out."""
        self._step = None
        if self._away is not None:
            self._quota = None
            return
        self._quota = quota
        self._let_out()
        if not self._waiters or self._quota:  # nobody waits, or not because of the steps
            self._quota = None
            for waiter in self._waiters:
                waiter.waits_for(self._kind())
            return
        loop = asyncio.get_running_loop()
        self._step = loop.call_later(self._times.step, self._stepped, 2 * quota)

    def _count_from(self, since: float) -> None:
        """From this moment on patience is used up."""
        self._since, self._told = since, False
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = None
        if self._patience > 0:
            self._expiry = asyncio.get_running_loop().call_at(since + self._patience, self._give_up)

    def _expired(self, now: float) -> bool:
        closed = self._away is not None or self._limit.outage
        return closed and self._patience > 0 and now >= self._since + self._patience

    def _give_up(self) -> None:
        """Patience is used up: fail those who wait, and those whom a server that stands still has."""
        now = time.monotonic()
        self._expiry = None
        waiters = list(self._waiters)
        self._waiters.clear()
        for waiter in waiters:
            waiter.over()
            if not waiter.passed.done():
                waiter.passed.set_exception(self._lasting(now))
        self._cut_off(now)

    def _cut_off(self, now: float) -> None:
        if self._away is WaitKind.STALL:
            for sent in self._in_flight:
                sent.cut_off(self._lasting(now))

    # Asking for the server

    def _look(self, since: float) -> None:
        """Nothing was heard for a while, or so it may be."""
        loop, now, quiet = asyncio.get_running_loop(), time.monotonic(), self._times.quiet
        self._watch = None
        if not self._in_flight:
            return
        late = now - since > 2 * quiet  # this loop itself stood still: what came meanwhile is not read yet
        silent = now - max(self._heard, since if late else 0.0)
        rest = quiet if late else quiet - silent
        if rest <= 0:
            self._ask(None)
            rest = quiet
        self._watch = loop.call_later(rest, self._look, now)

    def _ask(self, reason: InferenceError | None) -> None:
        """Have the server asked for, unless that is being done. ``reason``: what makes one doubt."""
        if self._probe is not None and self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._asked(self._probe, reason))
            self._asking.add_done_callback(self._asked_enough)

    def _asked_enough(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("the probe of %s failed", self.server, exc_info=task.exception())

    async def _asked(self, probe: Probe, reason: InferenceError | None) -> None:
        """Ask until it is known that the server is there, and close the gate while it is not."""
        times, began, glances = self._times, time.monotonic(), 0
        pause = times.first_pause
        if self._away is WaitKind.AWAY:
            await asyncio.sleep(pause)  # it has just refused
        while True:
            asked = time.monotonic()
            doubt = asyncio.get_running_loop().call_later(times.doubt, self._suspect)
            try:
                found = await probe(times.answer)
            finally:
                doubt.cancel()
            now = time.monotonic()
            self._words = found.reason
            if found.presence is Presence.THERE:
                self._heard = now
                if self._away is not None:
                    self._open()
            elif self._heard > asked or (self._good > began and self._away is None):
                pass  # a call heard of it meanwhile
            elif found.presence is Presence.REFUSED:
                self._close(WaitKind.AWAY, gate_words.not_found(self.server, found, reason), now)
            elif found.presence is Presence.BEHIND:
                glances += 1
                if glances >= _GLANCES:
                    self._close(WaitKind.AWAY, gate_words.not_found(self.server, found, reason), began)
            elif now - asked < 2 * times.answer:  # else it was this loop that stood still
                self._close_silent(found, reason, now)
            if self._away is None and not (found.presence is Presence.BEHIND and self._good <= began):
                self._settle()
                return
            self._tell(now)
            if self._away is not None and self._expired(now):
                self._cut_off(now)
                return
            await asyncio.sleep(pause if self._away else times.first_pause / 2)
            if self._away is not None:
                pause = min(times.longest_pause, _GROWTH * pause)

    def _close_silent(self, found: Found, reason: InferenceError | None, now: float) -> None:
        if self._in_flight:
            self._close(WaitKind.STALL, gate_words.stands_still(self.server, found), self._heard)
        elif self._away is None:
            self._close(WaitKind.AWAY, gate_words.not_found(self.server, found, reason), now)

    def _suspect(self) -> None:
        """A probe is not answered at once: from the last sign of life on it may be a stall."""
        for sent in self._in_flight:
            if sent.stall is None:
                sent.stall = sent.clock.begin_wait(WaitKind.STALL, max(sent.at, self._heard))

    def _settle(self) -> None:
        """It is known now whether the server stood still."""
        for sent in self._in_flight:
            if sent.stall is not None:
                sent.clock.end_wait(sent.stall, keep=self._away is not None)
                sent.stall = None

    # What is said of it

    def _tell(self, now: float) -> None:
        """Say once that it is gone."""
        stall = self._away is WaitKind.STALL
        if self._told or (self._away is None and not self._limit.outage):
            return
        if now - self._since < (self._times.tell if stall else self._times.first_pause):
            return
        self._told = True
        calls = len(self._waiters) + (len(self._in_flight) if stall else 0)
        kind = self._away or WaitKind.OVERLOAD
        why = self._words or str(self._reason)
        left = self._since + self._patience - now
        _log.warning(gate_words.gone(self.server, kind, why, calls=calls, seconds=left))

    def _kind(self) -> WaitKind:
        if self._away is not None:
            return self._away
        if self._quota is not None:
            return WaitKind.AWAY
        limited = self._limit.outage or self._limit.limit is not None
        return WaitKind.OVERLOAD if limited else WaitKind.CONNECTION

    def _lasting(self, now: float) -> InferenceError:
        return gate_words.given_up(self._reason, now - self._since, overloaded=self._away is None)

    def report(self) -> ServerReport:
        """The present state."""
        now = time.monotonic()
        limit = self._limit.limit
        state = {WaitKind.AWAY: "away", WaitKind.STALL: "stalled"}.get(self._away or WaitKind.POOL, "up")
        if state == "up" and (self._limit.outage or (limit is not None and self._waiters)):
            state = "overloaded"
        return ServerReport(
            address=self.server,
            state=state,  # type: ignore[arg-type]
            since=None if state == "up" else time.time() - (now - self._since),
            reason="" if state == "up" else self._words or str(self._reason or ""),
            waiting=len(self._waiters),
            in_flight=len(self._in_flight),
            limit=1 if self._limit.outage else limit,
        )

    def close(self) -> None:
        """Fail who waits, and ask no more."""
        for timer in (self._watch, self._step, self._resume, self._expiry):
            if timer is not None:
                timer.cancel()
        self._watch = self._step = self._resume = self._expiry = None
        if self._asking is not None:
            self._asking.cancel()
        waiters = list(self._waiters)
        self._waiters.clear()
        for waiter in waiters:
            waiter.over()
            if not waiter.passed.done():
                closed = f"the client of {self.server} was closed before the reply arrived"
                waiter.passed.set_exception(ServerUnreachable(closed))
