"""How many requests one server is given at once: all there are, until it sends some away (429, 503).

The invariant: each request that is sent away for being one too many takes one place away, so as many stay in
flight as the server takes. Places come back one step at a time, and at once where fewer in flight did not
help: such a server turns down requests at random, not for their number.
"""

from __future__ import annotations

import math

import msgspec

_LONG_ROW = 8  # requests sent away one after the other, none answered in between
_MOST_CAREFUL = 32  # rounds without a refusal before the next attempt at one more place
_LONG_ENOUGH = 5.0  # seconds after which one round is enough
_LEAST_SEEN = 12  # outcomes before anything is said about chance
_BY_CHANCE = 0.05  # share sent away, beyond which it is looked at whether fewer in flight help
_WORSE = 0.25  # more sent away than by chance: their number counts after all
_NEARLY_ALL = 0.8
_MEMORY = 32.0  # outcomes over which the recent share is taken


class Pauses(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between two requests to a server that sends away every one."""

    first: float = 0.25
    longest: float = 5.0


DEFAULT_PAUSES = Pauses()


class OverloadLimit:
    """The places of one server. Plain arithmetic: who waits for a place is the gate's business.

    Args:
        most: places that there are at best, such as the client's connections.

    Attributes:
        in_flight: requests that have a place.
        limit: places while the server sends requests away; None: as many as there are.
        row: requests sent away since the last one that was answered.
        outage: every request is sent away, and one at a time is tried.
        resume_at: in an outage the `time.monotonic()` moment before which none is tried.
    """

    def __init__(self, most: int, pauses: Pauses = DEFAULT_PAUSES) -> None:
        self.most = most
        self.limit: int | None = None
        self.in_flight = 0
        self.row = 0
        self.outage = False
        self.resume_at = 0.0
        self._pauses = pauses
        self._before_row: int | None = None  # the limit when the row began
        self._regime = 0  # changes where requests that were sent before say nothing about the limit
        self._credit = 0  # answers since a place came back
        self._step = 1  # places that come back next
        self._careful = 1  # rounds before they do
        self._raised = False  # since a place was taken away
        self._lowered_at = 0.0
        self._seen = 0  # outcomes of this regime's requests
        self._refused = 0  # of these sent away
        self._share = 0.0  # recent share sent away, where that is by chance
        self._by_chance: float | None = None  # share that is sent away whatever the number in flight
        self._least_seen = _LEAST_SEEN

    def has_room(self, now: float) -> bool:
        """Whether one more may be sent."""
        if self.outage:
            return self.in_flight == 0 and now >= self.resume_at
        return self.in_flight < (self.most if self.limit is None else self.limit)

    def sent(self) -> int:
        """One takes a place. Returns what `answered` and `sent_away` want to know of it."""
        self.in_flight += 1
        return self._regime

    def ended(self) -> None:
        """One gives its place back, whatever came of it. Before `answered` or `sent_away` is told."""
        self.in_flight -= 1

    def answered(self, regime: int, now: float, *, pressed: bool) -> None:
        """The server took it. ``pressed``: others wait for a place."""
        self.row = 0
        if self.outage:
            self.outage = False
            self._begin(self._before_row)
            return
        if self.limit is None and self._by_chance is None:
            return
        if regime == self._regime:
            self._count(refused=False)
        if self.limit is not None and pressed:
            self._credit += 1
            careful = 1 if now >= self._lowered_at + _LONG_ENOUGH else self._careful
            if self._credit >= careful * self.limit:
                self._raise(self.limit)

    def sent_away(self, regime: int, now: float, retry_after: float | None = None) -> None:
        """The server had no place for it. ``retry_after``: seconds that it asked for."""
        if self.row == 0:
            self._before_row = self.limit
        self.row += 1
        if self.row >= _LONG_ROW and self.in_flight == 0:
            pause = self._pauses.first * 2.0 ** min(self.row - _LONG_ROW, 16)
            self.outage = True
            self.resume_at = now + max(min(self._pauses.longest, pause), retry_after or 0.0)
            return
        known = regime == self._regime
        if known:
            self._count(refused=True)
        if self.limit is None:
            if self._by_chance is None or (
                self._seen >= _LEAST_SEEN and self._share > self._by_chance + _WORSE
            ):
                self._begin(max(1, self.in_flight))
        elif known and self._not_for_their_number():
            chance = self._refused / self._seen
            self._begin(None)
            self._by_chance = self._share = chance
            self._least_seen = min(2 * self._least_seen, 1024)
        else:
            self._lower(self.limit, now, careful=known)

    def _begin(self, limit: int | None) -> None:
        self.limit = limit
        self._regime += 1
        self._seen = self._refused = self._credit = 0
        self._share = self._by_chance or 0.0
        self._step = self._careful = 1
        self._raised = False

    def _lower(self, limit: int, now: float, *, careful: bool) -> None:
        self.limit = max(1, limit - 1)
        self._lowered_at = now
        self._step, self._credit = 1, 0
        if careful and self._raised:
            self._careful = min(2 * self._careful, _MOST_CAREFUL)
            self._raised = False

    def _raise(self, limit: int) -> None:
        if self._raised:
            self._careful = max(1, self._careful // 2)
        self.limit = min(self.most, limit + self._step)
        self._step = min(2 * self._step, max(1, self.limit // 4))
        self._credit, self._raised = 0, True

    def _count(self, *, refused: bool) -> None:
        self._seen += 1
        self._refused += refused
        self._share += (refused - self._share) / _MEMORY

    def _not_for_their_number(self) -> bool:
        """Whether as many are sent away now that fewer are in flight."""
        if self._seen < self._least_seen:
            return False
        share = self._refused / self._seen
        expected = (self._by_chance or 0.0) + max(_BY_CHANCE, 1.2 / math.sqrt(self._seen))
        return expected < share < _NEARLY_ALL
