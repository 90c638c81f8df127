"""A run that gets fewer workers than it asked for says so, once for each number."""

from __future__ import annotations

import pytest

from rollway.evaluation.shortage import ShortageWatch, shortage_line


def test_a_number_that_stands_is_told_once_until_it_changes() -> None:
    now = 0.0
    watch = ShortageWatch(8, seconds=15.0, clock=lambda: now)
    told = []
    for second in range(200):
        now = float(second)
        running = 0 if second < 5 else 2 if second < 60 else 7 if second < 65 else 8 if second < 120 else 6
        if watch.due(running):
            told.append((second, running))
    assert told == [(20, 2), (80, 8), (135, 6)], "7 did not stand"


def test_where_all_run_or_none_were_asked_for_there_is_nothing_to_tell() -> None:
    assert not ShortageWatch(2, seconds=0.0).due(2)
    assert not ShortageWatch(0, seconds=0.0).due(1)


@pytest.mark.parametrize(
    ("asked", "running", "free", "told"),
    [
        (8, 2, 2.0, "8 workers asked, 2 run: 2 CPUs free"),
        (8, 1, 0.5, "8 workers asked, 1 runs: 0.5 CPUs free"),
        (1, 0, 0.0, "1 worker asked, none run: 0 CPUs free"),
        (8, 2, None, "8 workers asked, 2 run"),
        (8, 8, 2.0, "8 workers asked, 8 run"),
    ],
)
def test_the_line(asked: int, running: int, free: float | None, told: str) -> None:
    assert shortage_line(asked, running, free) == told
