"""The clock of one rollout: waits by kind, united and not summed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
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


moments = st.integers(0, 50)


@given(st.lists(st.tuples(st.sampled_from(WaitKind), moments, moments)))
def test_working_seconds_are_those_without_any_wait(waits: list[tuple[WaitKind, int, int]]) -> None:
    clock = RolloutClock()
    for kind, start, end in waits:
        clock.waited(kind, start, end)
    waiting = {second for _, start, end in waits for second in range(start, end)}
    assert clock.waited_within(0, 50) == len(waiting)
