"""A run without faults, the same run with them, and the verdict on both.

The invariant: what the two must share is the policy and nothing else, and the second is judged by the first
and by the script.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console

from rollway.chaos.checks import Violation, record_violations, score_violations
from rollway.chaos.faults import OVER_LIMIT, Plan
from rollway.chaos.happenings import planned
from rollway.chaos.judging import Row, rows_of, violations_of
from rollway.chaos.runs import Outcome, Setup, do_run, expected_of
from rollway.chaos.table import print_rows, print_seen, print_violations

ADMITTED = 0.125
"""Share of the rollouts in flight whose requests the server admits at a time."""

SAMPLES = 2
"""Of each task, where the rollouts can be halved."""


class Chaos(NamedTuple):
    """What a run is asked for."""

    plan: Plan
    rollouts: int
    workers: int = 2
    concurrency: int = 32  # rollouts in flight on each worker
    config: Mapping[str, Any] = {}  # more fields of the run's configuration
    away: float = 3.0  # seconds that a server is away or stands still

    def setup(self) -> Setup:
        """The run with its faults."""
        config = {"workers": self.workers, "concurrency": self.concurrency, **self.config}
        samples = SAMPLES if self.rollouts % SAMPLES == 0 else 1
        plan = self.plan
        if OVER_LIMIT in plan.kinds_of("replies"):
            most = self.concurrency * max(1, self.workers)
            plan = msgspec.structs.replace(plan, admits=max(1, round(ADMITTED * most)))
        return Setup(plan, self.rollouts, samples, config, planned(plan, self.away))


class Verdict(NamedTuple):
    """What was found."""

    rows: list[Row]
    violations: list[Violation]
    outcome: Outcome


def without_faults(setup: Setup) -> Setup:
    """The same policy on a good day: in one process, with no fault but its own mistakes."""
    plan = setup.plan
    kinds = {"tools": ["failing"] if plan.failing else [], "sandboxes": []}
    rates = {group: rate for group, rate in plan.rates.items() if group in kinds}
    calm = msgspec.structs.replace(
        plan, rates=rates, kinds=kinds, every={}, admits=None, broken_worker=False, blocked_loop=None
    )
    config = {name: setup.config[name] for name in ("concurrency", "pool_size") if name in setup.config}
    return Setup(calm, setup.rollouts, setup.samples, {"workers": 0, **config})


def judged(setup: Setup, path: Path) -> Verdict:
    """Do a run without faults and with them, in new folders within ``path``."""
    expected = expected_of(setup)
    reference = do_run(without_faults(setup), path / "without-faults")
    outcome = do_run(setup, path / "with-faults")
    violations = record_violations(reference.folder.records, expected)
    violations += score_violations(reference.folder.summary, reference.folder.records, {}, expected)
    violations = [found._replace(promise=f"without faults, {found.promise}") for found in violations]
    found = violations_of(outcome, expected, reference.folder, setup.plan)
    return Verdict(rows_of(outcome, expected, found, setup.plan), violations + found, outcome)


def run_chaos(chaos: Chaos, path: Path, console: Console) -> bool:
    """Do and judge a run, and print the verdict. True: every promise was kept."""
    verdict = judged(chaos.setup(), path)
    print_rows(verdict.rows, console)
    print_seen(verdict.outcome, console)
    print_violations(verdict.violations, console)
    return not verdict.violations
