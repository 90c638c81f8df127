"""How many requests a server is given at once: as many as it takes, found out from what it sends away."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.inference.overload import OverloadLimit

REFUSAL = 0.003  # seconds that a refusal takes
PAUSE = 0.4  # seconds that a caller pauses after its first refusal, where nobody holds it


class Server:
    """A server on a clock of its own, and callers that ask it for the next reply as soon as they have one."""

    def __init__(
        self,
        *,
        callers: int,
        places: Callable[[float], float] = lambda moment: float("inf"),
        service: float = 0.2,
        by_chance: float = 0.0,
    ) -> None:
        self.limit = OverloadLimit(10_000)
        self.replies = self.refusals = 0
        self.limits: list[int | None] = []
        self._random = random.Random(1)
        self._places, self._service, self._by_chance = places, service, by_chance
        self._waiting = deque(range(callers))
        self._in_row = [0] * callers
        self._busy = 0
        self._events: list[tuple[float, int, str, int, int]] = []
        self._numbers = itertools.count()

    def run(self, seconds: float) -> float:
        """Replies a second."""
        moment = 0.0
        while moment < seconds:
            self._let_go(moment)
            moment, _, what, caller, regime = heapq.heappop(self._events)
            getattr(self, f"_{what}")(moment, caller, regime)
            self.limits.append(self.limit.limit)
        return self.replies / seconds

    def _at(self, moment: float, what: str, caller: int = 0, regime: int = 0) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), what, caller, regime))

    def _let_go(self, moment: float) -> None:
        while self._waiting and self.limit.has_room(moment):
            caller, regime = self._waiting.popleft(), self.limit.sent()
            if self._busy >= self._places(moment) or self._random.random() < self._by_chance:
                self._at(moment + REFUSAL, "refusal", caller, regime)
            else:
                self._busy += 1
                self._at(moment + self._service * self._random.uniform(0.7, 1.3), "reply", caller, regime)
        if self._waiting and self.limit.outage:
            self._at(max(self.limit.resume_at, moment + 0.001), "look")

    def _reply(self, moment: float, caller: int, regime: int) -> None:
        self._busy -= 1
        self.replies += 1
        self._in_row[caller] = 0
        self.limit.ended()
        self.limit.answered(regime, moment, pressed=bool(self._waiting))
        self._waiting.append(caller)

    def _refusal(self, moment: float, caller: int, regime: int) -> None:
        self.refusals += 1
        self._in_row[caller] += 1
        self.limit.ended()
        self.limit.sent_away(regime, moment)
        if self.limit.has_room(moment):
            self._at(moment + PAUSE * 2 ** min(self._in_row[caller] - 1, 2), "back", caller)
        else:
            self._waiting.append(caller)

    def _back(self, moment: float, caller: int, regime: int) -> None:
        self._waiting.append(caller)

    def _look(self, moment: float, caller: int, regime: int) -> None:
        """An outage's pause is over."""


@pytest.mark.parametrize("places", [1, 2, 8, 32, 100])
@pytest.mark.parametrize("service", [0.02, 0.2, 2.0])
def test_a_server_that_takes_some_of_128_is_as_busy_as_with_just_these(places: int, service: float) -> None:
    server = Server(callers=128, places=lambda moment: places, service=service)
    rate = server.run(150 * service)
    assert rate >= 0.95 * places / service
    assert server.refusals < 256 + server.replies


def test_a_server_that_turns_down_a_third_at_random_keeps_its_calls_in_flight() -> None:
    server = Server(callers=64, by_chance=1 / 3, service=2.0)
    assert server.run(300) >= 0.7 * 64 / 2.0
    assert server.limits[-1] is None


def test_a_server_that_takes_fewer_and_then_more_is_followed() -> None:
    server = Server(callers=128, places=lambda moment: 32 if moment < 30 else 8 if moment < 60 else 64)
    server.run(30)
    assert server.limits[-1] in (32, 33)
    server = Server(callers=128, places=lambda moment: 32 if moment < 30 else 8 if moment < 60 else 64)
    assert server.run(90) >= 0.9 * (32 + 8 + 64) / 3 / 0.2
    assert server.limits[-1] is not None
    assert 60 <= server.limits[-1] <= 70


def test_a_server_that_sends_everybody_away_is_asked_now_and_then_and_used_in_full_once_it_is_back() -> None:
    server = Server(callers=128, places=lambda moment: 0 if moment < 60 else 32)
    server.run(60)
    assert server.replies == 0
    assert server.refusals <= 128 + 30
    before = server.refusals
    server = Server(callers=128, places=lambda moment: 0 if moment < 60 else 32)
    assert server.run(90) * 90 >= 0.75 * 30 * 32 / 0.2
    assert server.refusals < before + 400


class Calls:
    """Any calls in any order against one limit."""

    def __init__(self, most: int) -> None:
        self.limit = OverloadLimit(most)
        self.sent: list[int] = []
        self.moment = 0.0

    def step(self, what: str, which: int) -> None:
        self.moment += 0.1
        if what == "send":
            if self.limit.has_room(self.moment):
                self.sent.append(self.limit.sent())
            return
        if not self.sent:
            return
        regime = self.sent.pop(which % len(self.sent))
        self.limit.ended()
        if what == "answered":
            self.limit.answered(regime, self.moment, pressed=which % 2 == 0)
        elif what == "refused":
            self.limit.sent_away(regime, self.moment)


@given(
    most=st.integers(1, 20),
    steps=st.lists(
        st.tuples(st.sampled_from(["send", "send", "answered", "refused", "left"]), st.integers(0, 99)),
        max_size=300,
    ),
)
def test_whatever_happens_there_is_room_again_and_never_for_more_than_the_limit(
    most: int, steps: list[tuple[str, int]]
) -> None:
    calls = Calls(most)
    for what, which in steps:
        before = calls.limit.in_flight
        calls.step(what, which)
        assert calls.limit.in_flight == len(calls.sent)
        if calls.limit.in_flight > before:
            assert calls.limit.in_flight <= min(most, calls.limit.limit or most)
        assert calls.limit.limit is None or 1 <= calls.limit.limit <= most
    while calls.sent:
        calls.step("left", 0)
    assert calls.limit.has_room(calls.moment + 60)
