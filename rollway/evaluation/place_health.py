"""Which workers are at fault: those on which rollouts fail while they succeed elsewhere.

Pure bookkeeping. The invariant: a worker is blamed only when what failed on it is more than the failures of
the other workers at the same time explain. So a server that is down for all, or an environment that fails on
every second task, costs no worker its place.
"""

from __future__ import annotations

import msgspec

STREAK = 4
"""Failures in a row from which a worker is doubted."""

UNLIKELY_AT_FIRST = 0.02
"""A worker that never had a success is bad when a streak like its own were less likely elsewhere. It is asked
once per worker."""

UNLIKELY = 1e-6
"""The same of a worker that had one: it is asked all the time."""


class _Place(msgspec.Struct):
    """One worker, since it began."""

    good: int = 0  # attempts that no fault with a place ended
    streak: int = 0  # failed in a row since the last good one
    good_elsewhere: int = 0  # since the streak began
    failed_elsewhere: int = 0  # since the streak began


class PlaceHealth:
    """Counts what came of the attempts of each running worker."""

    def __init__(self) -> None:
        self._places: dict[int, _Place] = {}

    def begin(self, worker: int) -> None:
        """A worker runs."""
        self._places[worker] = _Place()

    def end(self, worker: int) -> None:
        """It does not run any more."""
        self._places.pop(worker, None)

    def succeeded(self, worker: int) -> None:
        """An attempt on it ended without a fault that has a place."""
        place = self._places.get(worker)
        if place is None:
            return
        place.good += 1
        place.streak = place.good_elsewhere = place.failed_elsewhere = 0
        for other in self._others_in_streak(worker):
            other.good_elsewhere += 1

    def failed(self, worker: int) -> None:
        """An attempt on it ended with one."""
        place = self._places.get(worker)
        if place is None:
            return
        for other in self._others_in_streak(worker):
            other.failed_elsewhere += 1
        place.streak += 1

    def had_success(self, worker: int) -> bool:
        """Has it ended an attempt well?"""
        return self._places[worker].good > 0

    def successes(self, worker: int) -> int:
        """How many attempts it has ended well."""
        return self._places[worker].good

    def is_doubted(self, worker: int) -> bool:
        """Did its last attempts all fail?"""
        return self._places[worker].streak >= STREAK

    def may_begin(self, worker: int, in_flight: int) -> bool:
        """May one more attempt begin on it, before others have shown whose fault its failures are?

        A worker in doubt has one in flight for each that ended well elsewhere meanwhile. One that never had a
        success is in doubt from its first failure.
        """
        place = self._places[worker]
        if place.streak == 0 or (place.good and place.streak < STREAK):
            return True
        return in_flight + place.streak < STREAK + place.good_elsewhere

    def is_bad(self, worker: int) -> bool:
        """Is it more than chance that all fails here, seen what comes of attempts elsewhere?"""
        place = self._places[worker]
        if place.streak < STREAK or place.good_elsewhere == 0:
            return False
        failed, ended = place.failed_elsewhere, place.good_elsewhere + place.failed_elsewhere
        rate: float = (failed + 1) / (ended + 2)  # as if one more had failed and one more succeeded
        return rate**place.streak <= (UNLIKELY if place.good else UNLIKELY_AT_FIRST)

    def _others_in_streak(self, worker: int) -> list[_Place]:
        return [other for number, other in self._places.items() if number != worker and other.streak]
