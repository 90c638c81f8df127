"""The clock of one rollout: waits by kind, united and not summed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollway.clock import RolloutClock, WaitKind


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 100.0 + seconds)


def test_waits_that_overlap_count_once(moment: Callable[[float], None]) -> None:
    clock = RolloutClock()
    with clock.waiting(WaitKind.POOL):
        moment(2)
        with clock.waiting(WaitKind.POOL), clock.waiting(WaitKind.APPROVAL):
            moment(5)
    moment(9)
    assert clock.working() == 4
    assert clock.seconds() == {"approval": 3.0, "pool": 5.0}


def test_a_wait_may_have_begun_before_anybody_noticed_or_turn_out_to_be_none(
    moment: Callable[[float], None],
) -> None:
    clock = RolloutClock()
    moment(5)
    stall, doubt = clock.begin_wait(WaitKind.STALL, since=102.0), clock.begin_wait(WaitKind.AWAY, since=100.0)
    assert clock.working() == 0
    clock.end_wait(doubt, keep=False)
    moment(6)
    clock.end_wait(stall)
    moment(9)
    assert clock.seconds() == {"stall": 4.0}
    assert clock.working() == 5


def test_a_wait_that_goes_on_counts_already(moment: Callable[[float], None]) -> None:
    clock = RolloutClock()
    with clock.waiting(WaitKind.AWAY):
        moment(3)
        assert clock.working() == 0
        assert clock.waits_now == {WaitKind.AWAY}
    assert clock.waits_now == frozenset()


def test_a_failed_call_is_a_wait_afterwards(moment: Callable[[float], None]) -> None:
    clock = RolloutClock()
    moment(10)
    clock.waited(WaitKind.RETRY, 102.0, 106.0)
    assert clock.working() == 6
    assert clock.waited_within(104.0, 110.0) == 2
    assert clock.waited_within(104.0, 110.0, [WaitKind.STALL]) == 0


def test_the_inner_phase_names_what_is_done() -> None:
    clock = RolloutClock()
    with clock.doing("tools"):
        with clock.doing("approval"):
            assert clock.phase == "approval"
        assert clock.phase == "tools"
    assert clock.phase == ""


def test_calls_side_by_side_count_as_the_longest_of_them(moment: Callable[[float], None]) -> None:
    clock = RolloutClock()
    moment(1)
    with clock.lane(), clock.lane():
        moment(4)
    moment(5)
    assert clock.working() == 5


def durations_in_a_pool(
    size: int, durations: list[int], moment: Callable[[float], None], *, ask: int = 0
) -> tuple[float, float]:
    """Working seconds, and those of the queue, where calls of these durations have so many threads."""
    clock = RolloutClock()
    with ExitStack() as turn:
        lanes = [turn.enter_context(ExitStack()) for _ in durations]
        calls = [stack.enter_context(clock.lane()) for stack in lanes]
        if ask:
            with calls[0].waiting(WaitKind.APPROVAL):
                moment(ask)
        queued = [call.begin_wait(WaitKind.POOL) for call in calls]
        free = [ask] * size
        ends: list[tuple[int, int, int]] = []  # when, whether a call begins, which one
        for number, duration in enumerate(durations):
            begin = min(free)
            free[free.index(begin)] = begin + duration
            ends += [(begin, 0, number), (begin + duration, 1, number)]
        for when, ended, number in sorted(ends):
            moment(when)
            if ended:
                lanes[number].close()
            else:
                calls[number].end_wait(queued[number])
    return clock.working(), clock.seconds().get("pool", 0.0)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 6), st.integers(0, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_calls_need_the_same_time_however_many_threads_there_are(
    moment: Callable[[float], None], durations: list[int], size: int, ask: int
) -> None:
    moment(0)
    few, _ = durations_in_a_pool(size, durations, moment, ask=ask)
    moment(0)
    many, queued = durations_in_a_pool(64, durations, moment, ask=ask)
    assert queued == 0
    # The first alone is asked about; the others are at work meanwhile, until they queue.
    assert few == many == max([durations[0], *(ask + duration for duration in durations[1:])])


def test_a_clock_says_how_soon_so_much_may_be_used_up(moment: Callable[[float], None]) -> None:
    clock = RolloutClock()
    moment(1)
    assert clock.left(3) == 2
    with clock.waiting(WaitKind.RETRY):
        assert clock.left(3) is None
    with ExitStack() as turn:
        long = turn.enter_context(ExitStack())
        long.enter_context(clock.lane())
        short = turn.enter_context(clock.lane())
        wait = short.begin_wait(WaitKind.POOL)
        moment(2)
        assert clock.left(3) == 1
        long.close()
        assert clock.left(3) is None  # what is left waits for the pool
        moment(7)
        short.end_wait(wait)
        assert clock.left(3) == 2  # the second of the long one is used up, and runs beside this one's first
        moment(10)
        assert clock.left(3) == 0
    assert clock.working() == 4


def test_a_rest_is_neither_work_nor_a_wait(moment: Callable[[float], None]) -> None:
    clock = RolloutClock()
    moment(1)
    with clock.resting():
        moment(3)
        assert (clock.working(), clock.left(2)) == (1, None)
    moment(4)
    assert (clock.working(), clock.seconds()) == (2, {})


def test_whoever_looks_at_a_clock_is_told_when_a_wait_is_over() -> None:
    told: list[str] = []
    clock = RolloutClock()
    clock.on_change = lambda: told.append("changed")
    with clock.waiting(WaitKind.AWAY):
        assert told == []
    assert told == ["changed"]
    with clock.lane() as lane, lane.waiting(WaitKind.POOL):
        pass
    assert told == ["changed"] * 3


moments = st.integers(0, 50)


@given(st.lists(st.tuples(st.sampled_from(WaitKind), moments, moments)))
def test_working_seconds_are_those_without_any_wait(waits: list[tuple[WaitKind, int, int]]) -> None:
    clock = RolloutClock()
    for kind, start, end in waits:
        clock.waited(kind, start, end)
    waiting = {second for _, start, end in waits for second in range(start, end)}
    assert clock.waited_within(0, 50) == len(waiting)


@given(st.lists(st.tuples(st.sampled_from(WaitKind), moments, moments)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_working_seconds_and_waits_are_the_wall_clocks(
    moment: Callable[[float], None], waits: list[tuple[WaitKind, int, int]]
) -> None:
    moment(0)
    clock = RolloutClock()
    for kind, start, end in waits:
        clock.waited(kind, 100.0 + start, 100.0 + end)
    moment(50)
    assert clock.working() + clock.waited_within(100, 150) == clock.age() == 50
