"""A run in which nothing ends says so, and why as far as it is known; one that goes on says nothing."""

from __future__ import annotations

import time

import pytest

from rollway.evaluation.overview import Overview, RolloutStatus, WorkerStatus
from rollway.evaluation.quiet import QuietTimes, QuietWatch, quiet_line
from rollway.inference.server_report import ServerReport


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_is_told_once_for_each_stretch_and_again_while_it_lasts(clock: Clock) -> None:
    watch = QuietWatch(QuietTimes(seconds=120.0), clock)
    told = {}
    for second in range(700):
        clock.now = 100.0 + second
        ended = 1 if second >= 300 else 0  # one ends after five minutes
        line = watch.look(ended, Overview(in_flight=64))
        if line is not None:
            told[second] = line
    assert list(told) == [120, 240, 420, 540, 660]
    assert told[240].startswith("no rollout has ended for 240 s: 64 in flight")
    assert told[420].startswith("no rollout has ended for 120 s: ")


def test_nothing_in_flight_is_nothing_to_tell(clock: Clock) -> None:
    watch = QuietWatch(QuietTimes(seconds=1.0), clock)
    for second in range(10):
        clock.now = 100.0 + second
        assert watch.look(0, Overview()) is None


def test_the_line_names_the_oldest_rollout_the_servers_and_the_workers_that_hang() -> None:
    oldest = RolloutStatus(task_id="17", sample_index=0, age=412.0, phase="tools", phase_seconds=300.0)
    blocker = RolloutStatus(task_id="3", sample_index=1, age=70.0, phase="setup", phase_seconds=61.0)
    overview = Overview(
        in_flight=64,
        oldest=[oldest],
        servers=[
            ServerReport(address="http://a:1"),
            ServerReport(address="http://b:1", state="away", since=time.time() - 31, waiting=128),
        ],
        workers=[
            WorkerStatus(name="idle"),
            WorkerStatus(name="process 7 on node", lag=60.0, blocker=blocker),
        ],
    )
    assert quiet_line(120.0, overview) == (
        "no rollout has ended for 120 s: 64 in flight; the oldest: task '17' sample 0, 300 s in tools; "
        "server http://b:1 away for 31 s, 128 calls wait; worker process 7 on node has not answered "
        "for 60 s, held up by task '3' sample 1, 61 s in setup"
    )
