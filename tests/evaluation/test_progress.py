"""What is shown while a run goes on."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from rollway.evaluation import progress
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.progress import Counts, ProgressDisplay, progress_line
from rollway.trajectory import StopReason


def ended(*, reward: float | None = 1.0, tokens: int = 10, failed: bool = False) -> Outcome:
    return Outcome(b"{}", StopReason.COMPLETED, failed, reward, tokens)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_before_the_first_rollout_nothing_is_made_up(clock: Clock) -> None:
    line = progress_line(Counts(10, 0, clock), 3)
    assert line == "0/10 done  0 failed  3 in flight  0 tokens/s  mean reward -  - left"


def test_speed_and_time_left_are_those_of_the_recent_past(clock: Clock) -> None:
    counts = Counts(100, 40, clock)
    for _ in range(10):
        clock.now += 1.0
        counts.add(ended(tokens=50))
    assert counts.done == 50
    assert counts.tokens_per_second == pytest.approx(50.0)
    assert counts.seconds_left == pytest.approx(50.0)
    clock.now += progress.SPEED_SECONDS + 1
    assert counts.tokens_per_second == 0.0
    assert counts.seconds_left is None


def test_the_mean_is_over_what_was_scored(clock: Clock) -> None:
    counts = Counts(4, 0, clock)
    for outcome in (ended(reward=1.0), ended(reward=0.5), ended(reward=None, failed=True)):
        clock.now += 1.0
        counts.add(outcome)
    assert (counts.done, counts.failed, counts.mean_reward) == (3, 1, 0.75)
    assert counts.numbers()["progress/mean_reward"] == 0.75


@pytest.mark.parametrize(
    ("asked", "shown"), [(60, "0:59 left"), (3601, "1:00:00 left"), (6001, "1:40:00 left")]
)
def test_time_left_is_readable(clock: Clock, asked: int, shown: str) -> None:
    counts = Counts(asked, 0, clock)
    clock.now += 1.0
    counts.add(ended())
    assert progress_line(counts, 0).endswith(f"  {shown}")


def test_a_terminal_gets_a_live_display_and_is_given_back() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    counts = Counts(2, 0)
    with ProgressDisplay(console, counts, lambda: 1) as display:
        counts.add(ended())
        display.tick()
    text = out.getvalue()
    assert "1/2 done" in text
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h"), "the cursor is shown again"


@pytest.mark.parametrize("width", [80, 60])
def test_the_live_display_fits_and_shows_all_numbers_of_a_large_run(width: int, clock: Clock) -> None:
    out = io.StringIO()
    counts = Counts(1_000_000, 123_456, clock)
    for failed in (False, True):
        clock.now += 30.0
        counts.add(ended(reward=0.25, tokens=4_567_890, failed=failed))
    counts.failed = 12_345
    console = Console(file=out, force_terminal=True, width=width, color_system=None)
    with ProgressDisplay(console, counts, lambda: 4096) as display:
        out.truncate(out.seek(0))
        display.tick()
        picture = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\r", "", out.getvalue())
    assert all(len(line) <= width for line in picture.splitlines())
    assert picture[0] in "━╸", "there is room for a bar"
    for number in progress_line(counts, 4096).split("  "):
        assert number in picture


def test_elsewhere_a_line_is_printed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    out = io.StringIO()
    counts = Counts(2, 0)
    with ProgressDisplay(Console(file=out, width=40), counts, lambda: 0) as display:
        display.tick()
        counts.add(ended())
        display.tick()
    lines = out.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines[:2]] == ["0/2", "1/2"]
    assert all("left" in line for line in lines), "no line is broken in two"


def test_servers_that_are_away_are_shown_while_they_are(clock: Clock) -> None:
    away = "server http://127.0.0.1:8000 away for 31 s, 128 calls wait"
    counts = Counts(10, 0, clock)
    assert progress_line(counts, 3, [away]).endswith(f"- left  {away}")
    out, troubles = io.StringIO(), [away]
    console = Console(file=out, force_terminal=True, width=100, color_system=None)
    with ProgressDisplay(console, counts, lambda: 3, lambda: troubles) as display:
        display.tick()
        assert away in out.getvalue()
        troubles.clear()
        out.truncate(out.seek(0))
        display.tick()
        assert "away" not in out.getvalue()
        display.say("a line that stays")
    assert "a line that stays\n" in out.getvalue()
