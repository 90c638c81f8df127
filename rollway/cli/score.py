"""``rollway score``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from rollway.errors import UserError
from rollway.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from rollway.scoring import ScoreSummary
    from rollway.scoring.records import Comparison

FAILED = 1

LINE_SECONDS = 10.0
"""Time between two lines of progress when the output is not a terminal."""


def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory to score.", show_default=False)],
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:FUNCTION",
            help="Reward: f(trajectory, task) or f(trajectory). [default: the environment's rewards]",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the score. [default: the function's name, or 'environment']"
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of Ray worker processes; 0 runs without Ray.")
    ] = 0,
    compare: Annotated[
        str | None, typer.Option(metavar="NAME", help="Also compare with this earlier score.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing score of the same name.")
    ] = False,
    environment: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_FILE", help="Environment to use. [default: the run's own]"),
    ] = None,
    reward_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Timeout of a reward, per rollout. [default: the run's limits.hook_timeout, else 600]",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster to use. [default: start Ray on this machine]"),
    ] = None,
    allow_changed_tasks: Annotated[
        bool, typer.Option("--allow-changed-tasks", help="Score although tasks have changed since the run.")
    ] = False,
) -> int:
    """Score a stored run again, without the model, and compare with the recorded rewards.

    \b
    Examples:
      rollway score runs/calculator-20260101-120000
      rollway score runs/calculator-20260101-120000 --reward my_rewards.py:short_answer
      rollway score runs/calculator-20260101-120000 --reward my_rewards.py:judge --workers 8

    Writes RUN/scores/NAME.jsonl and RUN/scores/NAME.summary.json. The run itself does not change. After
    Ctrl-C, RUN/scores/NAME.partial.jsonl has what had been scored.

    Exit codes: 0 success, 1 no rollout could be scored, 2 usage error, 130 interrupted.
    """
    from rich.console import Console

    from rollway.scoring import ScoringInterrupted, score_run

    if ray_address is not None and not workers:
        raise UserError("--ray-address requires --workers N")
    try:
        with _Progress(Console(stderr=True)) as progress:
            summary = score_run(
                run,
                reward=reward,
                name=name,
                workers=workers,
                overwrite=overwrite,
                environment=environment,
                compare=compare,
                ray_address=ray_address,
                allow_changed_tasks=allow_changed_tasks,
                reward_timeout=reward_timeout,
                on_progress=progress,
            )
    except ScoringInterrupted as error:
        print(f"rollway: {error}", file=sys.stderr)
        return INTERRUPTED
    _print(summary, Console())
    print(f"scores: {run / 'scores' / summary.name}.jsonl")
    return FAILED if summary.on_record and not summary.scored else 0


class _Progress:
    """Progress: a bar on a terminal, removed at the end; elsewhere a line every `LINE_SECONDS`."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console
        self._bar = Progress(
            TextColumn("scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)
        self._next_line = time.monotonic() + LINE_SECONDS

    def __enter__(self) -> _Progress:
        if self._console.is_terminal:  # `disable` leaves an empty line before rich 15
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        if not self._console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._console.print(f"scored {done:,} of {total:,} rollouts", highlight=False)


def _print(summary: ScoreSummary, console: Console) -> None:
    from rollway.evaluation.table import count_lines, estimate_text, print_blocks

    width = max((len(name) for name in summary.rewards), default=0)
    means = [f"{name:<{width}}  {estimate_text(mean)}" for name, mean in summary.rewards.items()]
    print_blocks(
        [
            ("score", [f"{summary.name}, from {summary.rewards_from}", *_changes(summary)]),
            ("rollouts", [*_rollouts(summary), *count_lines(summary.failures, "failed: ")]),
            ("reward", _reward(summary)),
            ("functions", means if len(means) > 1 else []),
            *(
                ("" if place else "compared", _comparison(comparison))
                for place, comparison in enumerate(summary.comparisons)
            ),
        ],
        console,
    )


def _changes(summary: ScoreSummary) -> list[str]:
    """What is not as it was when the run was made."""
    lines = ["tasks have changed since the run (--allow-changed-tasks)"] if summary.allowed else []
    if summary.changed_source:
        from rollway.stored.identity import some_of

        lines.append(f"the environment has changed since the run: {some_of(summary.changed_source)}")
    return lines


def _rollouts(summary: ScoreSummary) -> list[str]:
    told = f"{summary.on_record:,} on disk, {summary.scored:,} scored"
    if summary.missing:
        told += f", {summary.missing:,} missing"
    if summary.torn_lines:
        return [told, f"{summary.torn_lines:,} torn last line skipped; is the run still active?"]
    return [told]


def _reward(summary: ScoreSummary) -> list[str]:
    from rollway.evaluation.table import doubts, estimate_text

    if summary.mean_reward is None:
        return ["none: no rollout was scored"]
    told = "mean reward" if summary.mean_reward.low is None else "mean reward, 95% interval"
    lines = [f"{estimate_text(summary.mean_reward)}  {told}", *doubts(summary.mean_reward)]
    absent = summary.failed + (summary.missing or 0)
    if summary.mean_reward_of_asked is not None and absent:
        lines.append(
            f"{estimate_text(summary.mean_reward_of_asked)}  counting {absent:,} failed or missing as 0"
        )
    return lines


def _comparison(comparison: Comparison) -> list[str]:
    from rollway.evaluation.table import estimate_text

    old, new, difference = comparison.old, comparison.new, comparison.difference
    if old is None or new is None or difference is None:
        return [f"no rollout has both this score and {comparison.against!r}"]
    width = max(len(comparison.against), len("difference"))
    lines = [
        f"{comparison.against:<{width}}  {estimate_text(old)}",
        f"{'this':<{width}}  {estimate_text(new)}",
        f"{'difference':<{width}}  {estimate_text(difference)}  over {difference.n:,} pairs",
    ]
    alone = [
        f"{n:,} only {whose}"
        for n, whose in ((comparison.only_old, comparison.against), (comparison.only_new, "this"))
        if n
    ]
    return [*lines, f"only in one score: {', '.join(alone)}"] if alone else lines
