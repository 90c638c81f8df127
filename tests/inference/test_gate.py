"""The gate of one server: one probe asks for a server that is away, and all calls wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import pytest

from rollway.clock import RolloutClock, WaitKind
from rollway.inference.errors import BadRequest, NoReplyInTime, ServerOverloaded, ServerUnreachable
from rollway.inference.gate import GateTimes, ServerGate
from rollway.inference.passing import Sent
from rollway.inference.presence import Found, Presence, found_status
from rollway.inference.tries import TryFailed, TryFault

QUICK = GateTimes(
    quiet=0.05, doubt=0.02, answer=0.05, first_pause=0.02, longest_pause=0.04, tell=0.0, step=0.01, let_out=2
)
THERE = Found(Presence.THERE, "200")
REFUSED = Found(Presence.REFUSED, "connection refused")
AWAY = TryFailed(ServerUnreachable("refused"), fault=TryFault.AWAY)
BROKEN = TryFailed(ServerUnreachable("broken"), fault=TryFault.BROKEN)


class Place:
    """A server as probes find it: ``found``, or silent for ever when that is None."""

    def __init__(self, found: Found | None = THERE) -> None:
        self.found = found
        self.probes = 0
        self.at_once = 0  # most probes at the same time
        self._running = 0

    async def __call__(self, seconds: float) -> Found:
        self.probes += 1
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        try:
            if self.found is None:
                await asyncio.sleep(seconds)
                return Found(Presence.SILENT, "no answer")
            return self.found
        finally:
            self._running -= 1


@pytest.fixture
async def place() -> Place:
    return Place()


@pytest.fixture
async def gate(place: Place) -> AsyncIterator[ServerGate]:
    gate = ServerGate("http://s", place, patience=60.0, times=QUICK)
    yield gate
    gate.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def entered(gate: ServerGate, clock: RolloutClock | None = None) -> Sent:
    sent = gate.enter(clock or RolloutClock())
    assert sent is not None
    return sent


def waiting(
    gate: ServerGate, clock: RolloutClock | None = None, *, deadline: float | None = None, first: bool = True
) -> asyncio.Task[Sent]:
    return asyncio.create_task(gate.entered(clock or RolloutClock(), deadline, first=first))


async def test_a_server_that_is_there_holds_nobody_and_is_not_probed(gate: ServerGate, place: Place) -> None:
    for _ in range(3):
        gate.answered(entered(gate))
    assert (place.probes, gate.report().state) == (0, "up")


async def test_while_it_is_away_all_wait_and_one_probe_asks(
    gate: ServerGate, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    place.found = REFUSED
    clock = RolloutClock()
    sent = [entered(gate) for _ in range(50)]
    for one in sent:
        gate.failed(one, AWAY)
    assert gate.enter(clock) is None
    tasks = [waiting(gate, clock), *(waiting(gate) for _ in range(49))]
    await until(lambda: place.probes >= 3)
    assert not any(task.done() for task in tasks)
    report = gate.report()
    assert (report.state, report.waiting, report.in_flight) == ("away", 50, 0)
    assert report.since is not None
    assert report.line(report.since + 31) == "server http://s away for 31 s, 50 calls wait"
    assert clock.waits_now == {WaitKind.AWAY}
    place.found = THERE
    passed = await asyncio.gather(*tasks)
    assert len(set(passed)) == 50
    assert place.at_once == 1
    assert list(clock.seconds()) == ["server_away"]
    assert gate.report().state == "up"
    away, back = [record.getMessage() for record in caplog.records]
    assert away.startswith("server http://s is away (connection refused); 50 calls wait for it")
    assert back.startswith("server http://s is back after ")


async def test_it_lets_out_a_few_at_first(gate: ServerGate, place: Place) -> None:
    gate.failed(entered(gate), AWAY)
    tasks = [waiting(gate) for _ in range(20)]
    await asyncio.sleep(0)
    seen: list[int] = []
    for task in tasks:
        task.add_done_callback(lambda _: seen.append(gate.report().in_flight))
    await asyncio.gather(*tasks)
    assert seen[0] == QUICK.let_out
    assert seen[-1] == 20


async def test_a_broken_reply_alone_closes_nothing(gate: ServerGate, place: Place) -> None:
    gate.failed(entered(gate), BROKEN)
    assert gate.enter(RolloutClock()) is not None
    await until(lambda: place.probes == 1)
    assert gate.report().state == "up"


async def test_a_broken_reply_of_a_server_that_is_gone_closes_it(gate: ServerGate, place: Place) -> None:
    place.found = REFUSED
    gate.failed(entered(gate), BROKEN)
    await until(lambda: gate.report().state == "away")


async def test_what_stands_before_the_server_is_asked_more_than_once(gate: ServerGate, place: Place) -> None:
    place.found = found_status(502)
    gate.failed(
        entered(gate), TryFailed(ServerOverloaded("bad gateway", status=502), fault=TryFault.UNAVAILABLE)
    )
    await until(lambda: gate.report().state == "away")
    assert place.probes == 3
    assert gate.report().reason == "502"


async def test_patience_that_is_used_up_fails_who_waits_and_later_ones_after_one_try_each() -> None:
    place = Place(REFUSED)
    gate = ServerGate("http://s", place, patience=0.1, times=QUICK)
    gate.failed(entered(gate), AWAY)
    tasks = [waiting(gate) for _ in range(3)]
    for task in tasks:
        with pytest.raises(ServerUnreachable, match=r"retry\.patience"):
            await task
    finding_out = await waiting(gate)
    with pytest.raises(ServerUnreachable):
        await waiting(gate)
    gate.failed(finding_out, AWAY)
    with pytest.raises(ServerUnreachable):
        await waiting(gate, first=False)
    gate.answered(await waiting(gate))
    assert gate.report().state == "up"
    assert gate.enter(RolloutClock()) is not None
    gate.close()


async def test_a_deadline_that_comes_while_it_is_away_says_so(gate: ServerGate, place: Place) -> None:
    place.found = REFUSED
    gate.failed(entered(gate), AWAY)
    with pytest.raises(NoReplyInTime, match="the server is away") as raised:
        await waiting(gate, deadline=time.monotonic() + 0.05)
    assert raised.value.waiting_for is WaitKind.AWAY
    assert not raised.value.in_reply
    assert raised.value.seconds >= 0.05
    assert gate.report().waiting == 0


async def test_a_server_that_stands_still_is_a_wait_from_its_last_sign_of_life_on(
    gate: ServerGate, place: Place
) -> None:
    place.found = None
    clock = RolloutClock()
    sent = entered(gate, clock)
    await until(lambda: gate.report().state == "stalled")
    assert gate.enter(RolloutClock()) is None
    assert clock.waits_now == {WaitKind.STALL}
    assert clock.working() < 0.02
    place.found = THERE
    await until(lambda: gate.report().state == "up")
    stalled = clock.seconds()["stall"]
    assert stalled >= QUICK.quiet + QUICK.answer
    gate.answered(sent)
    assert clock.seconds()["stall"] == stalled


async def test_a_server_that_answers_late_does_not_stand_still(gate: ServerGate, place: Place) -> None:
    clock, answer = RolloutClock(), asyncio.Event()

    async def late(seconds: float) -> Found:
        await answer.wait()
        return THERE

    gate._probe = late
    sent = entered(gate, clock)
    await until(lambda: clock.waits_now == {WaitKind.STALL})  # as long as nobody knows
    answer.set()
    await until(lambda: clock.waits_now == frozenset())
    assert clock.seconds() == {}
    gate.answered(sent)


async def test_a_reply_shows_that_it_does_not_stand_still(gate: ServerGate, place: Place) -> None:
    place.found = None
    one, other = entered(gate), entered(gate)
    await until(lambda: gate.report().state == "stalled")
    gate.answered(one)
    assert gate.report().state == "up"
    assert not other.stalled
    gate.left(other)


async def test_a_stall_beyond_patience_cuts_off_what_the_server_has() -> None:
    gate = ServerGate("http://s", Place(None), patience=0.2, times=QUICK)
    sent = entered(gate)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30) as sent.limit:
            await asyncio.Event().wait()
    assert "stands still" in str(sent.cut)
    gate.close()


async def test_requests_beyond_the_connections_wait_for_one(place: Place) -> None:
    gate = ServerGate("http://s", place, patience=60, most=2, times=QUICK)
    clock = RolloutClock()
    one, _ = entered(gate), entered(gate)
    task = waiting(gate, clock)
    await asyncio.sleep(0)
    assert clock.waits_now == {WaitKind.CONNECTION}
    gate.answered(one)
    await task
    assert gate.report().in_flight == 2
    gate.close()


async def test_who_is_sent_away_waits_in_the_client(place: Place) -> None:
    gate = ServerGate("http://s", place, patience=60, times=QUICK)
    sent = [entered(gate) for _ in range(5)]
    for one in sent[3:]:
        gate.failed(one, TryFailed(ServerOverloaded("busy", status=429), fault=TryFault.OVERLOADED))
    assert gate.paces(TryFault.OVERLOADED)
    clock = RolloutClock()
    task = waiting(gate, clock)
    await asyncio.sleep(0)
    assert clock.waits_now == {WaitKind.OVERLOAD}
    report = gate.report()
    assert (report.state, report.limit, report.in_flight, report.waiting) == ("overloaded", 3, 3, 1)
    gate.answered(sent[0])
    assert (await task).queued > 0
    gate.close()


async def test_a_refused_request_shows_that_the_server_is_there(gate: ServerGate, place: Place) -> None:
    place.found = REFUSED
    other = entered(gate)
    gate.failed(entered(gate), AWAY)
    gate.failed(other, TryFailed(BadRequest("no", status=400), retry=False))
    assert gate.report().state == "up"


async def test_nobody_is_lost_however_many_give_up_waiting(place: Place) -> None:
    gate = ServerGate("http://s", place, patience=60, most=3, times=QUICK)
    running = most = 0

    async def call(number: int) -> None:
        nonlocal running, most
        sent = gate.enter(RolloutClock()) or await gate.entered(RolloutClock(), None, first=True)
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0.001 * (number % 3))
        finally:
            running -= 1
            gate.left(sent)

    tasks = [asyncio.create_task(call(number)) for number in range(200)]
    for turn in range(40):
        await asyncio.sleep(0)
        tasks[turn * 5].cancel()
    done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
    assert sum(isinstance(each, asyncio.CancelledError) for each in done) >= 20
    assert all(each is None or isinstance(each, asyncio.CancelledError) for each in done)
    assert most <= 3
    assert (gate.report().in_flight, gate.report().waiting) == (0, 0)
    gate.close()


async def test_closing_fails_who_waits(gate: ServerGate, place: Place) -> None:
    place.found = REFUSED
    gate.failed(entered(gate), AWAY)
    task = waiting(gate)
    await asyncio.sleep(0)
    gate.close()
    with pytest.raises(ServerUnreachable, match="closed"):
        await task
