"""How far the run is: a live display on a terminal, a plain line every few seconds anywhere else.

It only counts what it is told of, and never holds up the run.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.table import number_text
from rollway.sums import RunningSum
from rollway.trajectory import FAILURES

PLAIN_SECONDS = 10.0
"""Between two plain lines."""

SPEED_SECONDS = 30.0
"""Tokens a second and the time left are taken from this much of the past."""

STEP_SECONDS = 0.5
"""What ended within it is counted together, so that the past takes little room."""


class _Step(msgspec.Struct):
    """What ended within a short time."""

    began: float
    rollouts: int = 0
    tokens: int = 0


class Counts:
    """The run's numbers so far. Resumed rollouts count as done, and for nothing else."""

    def __init__(self, asked: int, already_done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked = asked
        self.before = self.done = already_done
        self.ended = 0  # since the start of this process
        self.scored = 0  # of these
        self.failed = 0  # of these
        self.failures: Counter[str] = Counter()  # of these, by kind
        self.tokens = 0
        self.last_error = ""  # "kind: message" of the rollout that failed last
        self._reward = RunningSum()
        self._clock = clock
        self._began = clock()
        self._recent: deque[_Step] = deque()  # the oldest first

    def add(self, outcome: Outcome) -> None:
        """Count one rollout that ended."""
        self.done += 1
        self.ended += 1
        self.failed += outcome.failed
        if outcome.failed:
            self.last_error = outcome.error
            self.failures[_kind(outcome)] += 1
        self.tokens += outcome.completion_tokens
        if outcome.reward is not None:
            self.scored += 1
            self._reward.add(outcome.reward)
        self._forget()
        now = self._clock()
        if not self._recent or now - self._recent[-1].began >= STEP_SECONDS:
            self._recent.append(_Step(now))
        self._recent[-1].rollouts += 1
        self._recent[-1].tokens += outcome.completion_tokens

    @property
    def mean_reward(self) -> float | None:
        """Over what was scored since the start of this process."""
        return self._reward.mean

    @property
    def tokens_per_second(self) -> float:
        self._forget()
        return sum(step.tokens for step in self._recent) / self._span()

    @property
    def rollouts_per_second(self) -> float:
        self._forget()
        return sum(step.rollouts for step in self._recent) / self._span()

    @property
    def seconds_left(self) -> float | None:
        """At the present speed; ``None`` before there is one."""
        self._forget()
        if not self._recent:
            return None
        return (self.asked - self.done) * self._span() / sum(step.rollouts for step in self._recent)

    def numbers(self) -> dict[str, float | int | None]:
        """For a tracker."""
        return {
            "progress/done": self.done,
            "progress/failed": self.failed,
            "progress/tokens": self.tokens,
            "progress/tokens_per_second": self.tokens_per_second,
            "progress/mean_reward": self.mean_reward,
        }

    def _span(self) -> float:
        return max(1e-3, min(SPEED_SECONDS, self._clock() - self._began))

    def _forget(self) -> None:
        oldest = self._clock() - SPEED_SECONDS
        while self._recent and self._recent[0].began < oldest:
            self._recent.popleft()


def _kind(outcome: Outcome) -> str:
    """Of a failure, nearly as the summary has it: a run may meet any number of them."""
    kind = outcome.error_kind
    where = str(outcome.stop_reason) if outcome.stop_reason in FAILURES else "reward_error"
    return f"{where}: {kind}" if kind else where


def progress_line(counts: Counts, in_flight: int, troubles: Sequence[str] = ()) -> str:
    """All numbers on one line, and behind them what is wrong with servers."""
    shown = _shown(counts, in_flight)
    numbers = (shown[name] for name in ("done", "failed", "in_flight", "tokens", "reward", "left"))
    return "  ".join([*numbers, *troubles])


def _shown(counts: Counts, in_flight: int) -> dict[str, Any]:
    """Each number with its word: fields of a row."""
    reward = counts.mean_reward
    left = counts.seconds_left
    return {
        "done": f"{counts.done}/{counts.asked} done",
        "failed": f"{counts.failed} failed",
        "in_flight": f"{in_flight} in flight",
        "tokens": f"{counts.tokens_per_second:,.0f} tokens/s",
        "reward": f"mean reward {'-' if reward is None else number_text(reward)}",
        "left": f"{'-' if left is None else duration_text(left)} left",
    }


def duration_text(seconds: float) -> str:
    """``4:07``, or with hours ``1:04:07``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class ProgressDisplay:
    """Shows `Counts` while it is open. ``tick`` is to be called a few times a second.

    ``troubles`` says what is wrong with servers at the moment, a line for each.
    """

    def __init__(
        self,
        console: Console,
        counts: Counts,
        in_flight: Callable[[], int],
        troubles: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._console = console
        self._counts = counts
        self._in_flight = in_flight
        self._troubles = troubles
        self._rows = [  # two, so that a large run's numbers have room in 60 columns
            Progress(BarColumn(bar_width=None), *_columns("done", "reward", "left"), expand=True),
            Progress(*_columns("failed", "in_flight", "tokens")),
        ]
        for row in self._rows:
            row.add_task("", total=max(1, counts.asked), **_shown(counts, in_flight=0))
        self._live: Live | None = None
        self._next_line = 0.0
        self._last_line = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._picture, console=self._console, auto_refresh=False, transient=True
            )
            self._live.start()
        self._next_line = time.monotonic() + PLAIN_SECONDS
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._print()

    def say(self, line: str) -> None:
        """Print a line that stays, above the live display where there is one."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _picture(self) -> Group:
        troubles = (
            Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in self._troubles()
        )
        return Group(*self._rows, *troubles)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def tick(self) -> None:
        """Bring the display up to date."""
        if self._live is not None:
            shown = _shown(self._counts, self._in_flight())
            for row in self._rows:
                row.update(row.task_ids[0], completed=self._counts.done, **shown)
            self._live.refresh()
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            self._print()

    def _print(self) -> None:
        line = progress_line(self._counts, self._in_flight(), self._troubles())
        if line != self._last_line:
            self._last_line = line
            self.say(line)


def _columns(*names: str) -> list[TextColumn]:
    return [TextColumn(f"{{task.fields[{name}]}}") for name in names]
