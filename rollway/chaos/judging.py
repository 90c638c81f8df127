"""The verdict on a run: its table of faults, and the promises that it broke.

The invariant: a run is sound when nothing at all was found, and every finding names its promise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from rollway.chaos.checks import (
    ENDINGS,
    FINISHED,
    NOTHING_LEFT,
    RIGHT_HISTORY,
    WHOLE_LINES,
    Expected,
    Key,
    Violation,
    record_violations,
    same_rewards,
    score_violations,
    unexpected_failures,
)
from rollway.chaos.faults import FAULTS, GROUPS, TIMES, Plan
from rollway.chaos.reading import RunFolder
from rollway.chaos.runs import Outcome


class Row(NamedTuple):
    """What one fault did."""

    fault: str
    struck: int
    effect: str  # what must come of it
    again: (
        int | None
    )  # rollouts that it struck and that were begun more than once; None: it strikes none alone
    lost: int  # rollouts that it struck, and of which a promise is broken
    held: bool


def violations_of(
    outcome: Outcome, expected: Expected, reference: RunFolder | None, plan: Plan
) -> list[Violation]:
    """Every broken promise of a run. ``reference``: the same run without faults, where there was one."""
    folder = outcome.folder
    found = [Violation(WHOLE_LINES, f"{where} is not whole") for where in folder.torn]
    found += record_violations(folder.records, expected)
    found += score_violations(
        folder.summary, folder.records, {} if reference is None else reference.summary, expected
    )
    if reference is not None:
        found += same_rewards(folder.records, reference.records)
    allowed = allowed_failures(plan, outcome.struck)
    found += unexpected_failures([*folder.failures, *folder.set_aside], allowed)
    return [*found, *_from_outside(outcome)]


def allowed_failures(plan: Plan, struck: Collection[str]) -> frozenset[str]:
    """Kinds of failures that some fault of the run explains."""
    names = {fault.name for group in plan.rates for fault in GROUPS[group] if plan.rates[group]}
    names |= {f"replies.{kind}" for kind in plan.every} | (set(struck) & FAULTS.keys())
    allowed = frozenset[str]().union(*(FAULTS[name].failures for name in names))
    if plan.admits is not None:
        allowed |= FAULTS["replies.429"].failures
    if plan.broken_worker:
        allowed |= {"OSError"}
    if plan.blocked_loop is not None:
        allowed |= FAULTS["workers.stopped"].failures
    return allowed


def _from_outside(outcome: Outcome) -> Iterator[Violation]:
    for number, sitting in enumerate(outcome.sittings, 1):
        if not sitting.expected:
            ended = "had to be ended" if sitting.exit_code is None else f"ended with {sitting.exit_code}"
            yield Violation(
                ENDINGS, f"sitting {number} {ended} after {sitting.seconds:.0f} s: {sitting.last_words}"
            )
    if not outcome.finished:
        yield Violation(FINISHED, f"after {len(outcome.sittings)} sittings it is not")
    for number, command in outcome.left.items():
        yield Violation(NOTHING_LEFT, f"process {number} is: {command[:120]}")
    for line in outcome.log:
        if line.kind == "wrong":
            yield Violation(RIGHT_HISTORY, f"task {line.task}, turn {line.turn}, seed {line.seed}")


def rows_of(outcome: Outcome, expected: Expected, violations: Collection[Violation], plan: Plan) -> list[Row]:
    """A row for every fault that was to strike.

    Of a rollout with a broken promise, each fault that struck it bears the blame; where none did, those
    that strike whole processes.
    """
    broken = {found.key for found in violations if found.key is not None}
    names = {f"{group}.{kind}" for group in GROUPS for kind in plan.kinds_of(group)}
    keys = {name: whom for name, whom in struck_keys(outcome, expected).items() if name in names}
    begun_again = {expected.keys[request] for request in outcome.begun_again() if request in expected.keys}
    unexplained = broken.difference(*keys.values())
    rows = []
    for group in GROUPS:
        for kind in plan.kinds_of(group):
            name = f"{group}.{kind}"
            whom = keys.get(name, set())
            lost = len(unexplained if group in TIMES else whom & broken)
            again = None if group in TIMES else len(whom & begun_again)
            times = _times(name, outcome, whom)
            rows.append(Row(name, times, FAULTS[name].effect, again, lost, lost == 0))
    return rows


def _times(name: str, outcome: Outcome, whom: Collection[Key]) -> int:
    """How often a fault struck. A tool that always fails leaves no mark, but fails its rollouts."""
    group, _, kind = name.partition(".")
    if group == "replies":
        return sum(line.kind == kind for line in outcome.log)
    return outcome.struck[name] or len(whom)


def struck_keys(outcome: Outcome, expected: Expected) -> dict[str, set[Key]]:
    """The rollouts that each fault struck, for those that strike single ones."""
    found = {"tools.failing": set[Key]()}
    by_task: dict[str, set[Key]] = {}
    by_call: dict[str, Key] = {}
    for key, turns in expected.turns.items():
        by_task.setdefault(key[0], set()).add(key)
        for call in (call for turn in turns for call in turn.calls):
            by_call[call.key] = key
            if call.answer is None:
                found["tools.failing"].add(key)
    for name, struck in outcome.keys.items():
        found[name] = set[Key]().union(
            *({by_call[one]} if one in by_call else by_task.get(one, set()) for one in struck)
        )
    for line in outcome.log:
        if line.kind not in ("ok", "wrong") and (line.task, line.seed) in expected.keys:
            found.setdefault(f"replies.{line.kind}", set()).add(expected.keys[line.task, line.seed])
    return found
