"""A verdict as people read it: the faults, what was seen of the run, and what is broken, last.

Plain text where there is no terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rollway.chaos.checks import Violation, failure_kinds
from rollway.chaos.judging import Row
from rollway.chaos.runs import Outcome

MOST_TOLD = 3
"""Findings of one promise that are told one by one."""


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """The faults, and whether each did what it must."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("fault", "struck", "begun again", "lost"):
        table.add_column(name, justify="left" if name == "fault" else "right", no_wrap=True)
    table.add_column("must be")
    table.add_column("")
    for row in rows:
        verdict = "FAULT" if not row.held else "ok" if row.struck else "never struck"
        again = "" if row.again is None else f"{row.again:,}"
        table.add_row(row.fault, f"{row.struck:,}", again, f"{row.lost:,}", row.effect, verdict)
    console.print(table, width=min(console.width, 80), highlight=False)


def print_seen(outcome: Outcome, console: Console) -> None:
    """What came of the run as a whole."""
    codes = ", ".join(str(sitting.exit_code) for sitting in outcome.sittings)
    lines = [f"sittings        {len(outcome.sittings)}, exit codes {codes}, {outcome.seconds:.1f} s in all"]
    lines.append(
        f"requests        {len(outcome.log):,}; {sum(outcome.begun_again().values()):,} rollouts begun again"
    )
    if failures := failure_kinds(outcome.folder.failures):
        lines.append(
            "failed attempts " + ", ".join(f"{kind} {count:,}" for kind, count in failures.most_common())
        )
    if outcome.replaced:
        lines.append("workers         replaced after " + ", ".join(f"{s:.0f} s" for s in outcome.replaced))
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_violations(violations: Collection[Violation], console: Console) -> None:
    """Each broken promise, with its first findings."""
    counts = Counter(found.promise for found in violations)
    for promise, count in counts.items():
        console.print(f"[bold red]BROKEN[/]: {escape(promise)} ({count:,})", highlight=False, soft_wrap=True)
        for found in [found for found in violations if found.promise == promise][:MOST_TOLD]:
            where = "" if found.key is None else f"task {found.key[0]}, sample {found.key[1]}: "
            console.print(f"  {where}{found.detail}", highlight=False, markup=False, soft_wrap=True)
