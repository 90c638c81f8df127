"""The end of a run: everything that is made from its records, and whether it did what it was asked."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from rollway.evaluation.config.most_failed import MostFailed, most_failed
from rollway.evaluation.groups import fill_advantages
from rollway.evaluation.plan import Plan
from rollway.evaluation.report import write_report
from rollway.evaluation.run_directory import RunDirectory, holds_run, read_trajectories
from rollway.evaluation.samples import Sample, SampleChooser
from rollway.evaluation.sitting import Ending
from rollway.evaluation.summary import RunSummary, SummaryBuilder, write_summary
from rollway.evaluation.table import print_table
from rollway.evaluation.tracking import Tracker
from rollway.stored.identity import read_identity
from rollway.trajectory import StopReason

MOST_TOLD = 1_000
"""Characters of what one rollout failed with, where a run ends; log.txt and the trajectory have the whole."""

_NO_FAILURES = frozenset({"not_scored", str(StopReason.SUSPENDED)})
"""Rollouts without a score that nothing went wrong with: there was nothing to score them, or they wait."""

_log = logging.getLogger(__name__)


class RunFailed(Exception):
    """The run ended without doing what it was asked. What it did do is on disk, ``summary`` included."""

    def __init__(self, message: str, path: Path, summary: RunSummary) -> None:
        super().__init__(message)
        self.path = path
        self.summary = summary


class RunInterrupted(Exception):
    """Ctrl-C or SIGTERM. Everything that had ended is on disk, ``summary`` included."""

    def __init__(self, message: str, path: Path, summary: RunSummary) -> None:
        super().__init__(message)
        self.path = path
        self.summary = summary


def conclude(
    plan: Plan, run: RunDirectory, ending: Ending, console: Console, tracker: Tracker | None
) -> RunSummary:
    """Everything that is made from the records: advantages, summary, report, table, and the verdict.

    What cannot be written is a problem of the run; the rest is done all the same.
    """
    problems = [] if ending.problem is None else [ending.problem]
    with _written(run.path, problems):
        run.settle()
        if plan.config.groups:
            fill_advantages(run, samples=plan.config.samples)
    summary, samples = _summed_up(plan, ending.seconds)
    with _written(run.path, problems):
        write_summary(run.path / "summary.json", summary)
        write_report(run.path / "report.html", summary, samples, title=run.path.name)
    if tracker is not None:
        tracker.finish(summary, samples)
    print_table(summary, console)
    console.print(f"run: {run.path}", highlight=False, soft_wrap=True)
    _judge(summary, ending, problems, run.path, plan.config.max_failed)
    return summary


@contextmanager
def _written(path: Path, problems: list[str]) -> Iterator[None]:
    """An ``OSError`` in the block is one of the problems."""
    try:
        yield
    except OSError as error:
        _log.error("cannot write to %s", path, exc_info=error)
        problems.append(f"cannot write to {path}: {error.strerror or error}")


def _summed_up(plan: Plan, seconds: float | None) -> tuple[RunSummary, list[Sample]]:
    builder = SummaryBuilder(pass_threshold=plan.environment.pass_threshold)
    chooser = SampleChooser()
    for trajectory in read_trajectories(plan.path):
        builder.add(trajectory)
        chooser.add(trajectory)
    identity = read_identity(plan.path)
    summary = builder.build(
        asked=plan.asked,
        samples=plan.config.samples,
        wall_seconds=seconds,
        allowed=[one.what for one in identity.allowed] if identity is not None else (),
        sittings=len(identity.sittings) if identity is not None else 0,
    )
    return summary, chooser.chosen()


def _judge(
    summary: RunSummary, ending: Ending, problems: list[str], path: Path, max_failed: MostFailed
) -> None:
    """Raise unless the run did what it was asked."""
    done = f"{summary.finished} of {summary.asked} rollouts are on disk"
    resume = f"resume with: rollway eval --resume {path}"
    go_on = f"{done}; {resume}"
    if not holds_run(path):
        resume = go_on = f"bring {path} back and {resume}; or start the run again"
    if ending.interrupted:
        raise RunInterrupted(f"interrupted; {go_on}", path, summary)
    if problems:
        raise RunFailed(f"{_one_line(problems[0])}; {go_on}", path, summary)
    failures = {kind: n for kind, n in summary.failures.items() if kind not in _NO_FAILURES}
    failed = sum(failures.values())
    last = f"; last error: {_one_line(ending.last_error)}" if ending.last_error else ""
    if summary.scored == 0 and failed:
        kinds = ", ".join(f"{kind} ({n})" for kind, n in summary.failures.items())
        raise RunFailed(f"no rollout was scored: {kinds}{last}; see {path / 'log.txt'}", path, summary)
    if failed > most_failed(max_failed, summary.asked):
        told = f"{failed} of {summary.asked} have no score: {_by_error(failures)}{last}"
        raise RunFailed(f"{told}; {resume}", path, summary)


def _by_error(failures: Mapping[str, int]) -> str:
    """``120 ServerUnreachable, 23 TimeoutError``, whatever the errors ended."""
    errors: Counter[str] = Counter()
    for kind, count in failures.items():
        errors[kind.rpartition(": ")[2]] += count
    return ", ".join(f"{count} {error}" for error, count in errors.most_common())


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MOST_TOLD else f"{line[:MOST_TOLD]}..."
