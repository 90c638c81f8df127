"""Single promises with a number in them: one fixed setup each, and what was measured beside the promise.

The invariant: a scenario holds when all its marks hold, the first of which is always that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from rollway.chaos.chaos import Verdict, judged
from rollway.chaos.faults import Plan
from rollway.chaos.happenings import Happening
from rollway.chaos.judging import violations_of
from rollway.chaos.runs import Outcome, Setup, do_run, expected_of
from rollway.chaos.table import print_seen, print_violations

STILL = Happening(0.4, "servers.still", 20.0)


class Mark(NamedTuple):
    """One promise."""

    promise: str
    measured: str
    held: bool


Scenario = Callable[[int, Path, Console], Iterator[Mark]]
"""Measures with a seed, in a folder, and gives each mark when it is known."""


def run_scenario(name: str, seed: int, path: Path, console: Console) -> bool:
    """Measure, and print each mark as it is known. True: all of them hold."""
    held = True
    for mark in SCENARIOS[name](seed, path, console):
        verdict = "[green]ok[/]" if mark.held else "[bold red]BROKEN[/]"
        console.print(f"{verdict} {mark.promise}: {mark.measured}", highlight=False, soft_wrap=True)
        held = held and mark.held
    return held


def _lost(verdict: Verdict, console: Console) -> Mark:
    """The first mark, with what was seen."""
    print_seen(verdict.outcome, console)
    print_violations(verdict.violations, console)
    lost = len({found.key for found in verdict.violations if found.key is not None})
    broken = "" if not verdict.violations else f", {len(verdict.violations)} findings"
    return Mark("0 lost", f"{lost} lost{broken}", not verdict.violations)


def _one_sitting(outcome: Outcome) -> Mark:
    return Mark("in one sitting", f"{len(outcome.sittings)}", len(outcome.sittings) == 1)


def _away(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    setup = Setup(
        Plan(seed=seed, delay=0.05),
        400,
        2,
        {"workers": 0},
        [Happening(0.4, "servers.away", 30.0)],
    )
    verdict = judged(setup, path)
    yield _lost(verdict, console)
    yield _one_sitting(verdict.outcome)


def _still(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    setup = Setup(
        Plan(seed=seed, delay=0.05),
        400,
        2,
        {"workers": 0, "limits": {"timeout": 10.0}},
        [STILL],
    )
    yield _lost(judged(setup, path), console)


ADMITTED = 32


def _admits(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    plan = Plan(seed=seed, delay=0.5, admits=ADMITTED)
    rates = {}
    for concurrency in (ADMITTED, 4 * ADMITTED):
        setup = Setup(plan, 1000, 2, {"workers": 0, "concurrency": concurrency, "pool_size": concurrency})
        verdict = judged(setup, path / str(concurrency))
        yield _lost(verdict, console)
        rates[concurrency] = replies_per_second(verdict.outcome)
    share = rates[4 * ADMITTED] / rates[ADMITTED]
    told = f"{rates[4 * ADMITTED]:.1f} and {rates[ADMITTED]:.1f} replies/s, {share:.1%}"
    yield Mark(f"{4 * ADMITTED} at a time are at least 95% as fast as {ADMITTED}", told, share >= 0.95)


def replies_per_second(outcome: Outcome) -> float:
    """How fast the server's whole replies came, without the tenth at each end."""
    moments = sorted(line.moment for line in outcome.log if line.kind == "ok")
    tenth = len(moments) // 10
    middle = moments[tenth : len(moments) - tenth]
    return (len(middle) - 1) / (middle[-1] - middle[0])


def _half_502(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    every = {"502": 1 / 2, "cut_body": 1 / 10, "429": 1 / 3}
    verdict = judged(Setup(Plan(seed=seed, every=every), 300, 2, {"workers": 0}), path)
    yield _lost(verdict, console)
    yield _one_sitting(verdict.outcome)


def _judge_away(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    plan = Plan(seed=seed, rates={"hooks": 0.3}, kinds={"hooks": ["reward", "async_reward"]})
    verdict = judged(Setup(plan, 300, 2, {"workers": 0}), path)
    yield _lost(verdict, console)
    again = sum(verdict.outcome.begun_again().values())
    yield Mark("nothing is sampled again", f"{again} rollouts were", again == 0)


MOST_WASTED = 8
REPLACED_SECONDS = 90.0
LASTING = 0.5  # seconds of a reply, so that a run is not over before a worker is missed


def _broken_worker(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    plan = Plan(seed=seed, delay=0.2, broken_worker=True)
    verdict = judged(Setup(plan, 400, 2, {"workers": 2, "concurrency": 16}), path)
    yield _lost(verdict, console)
    wasted = len(verdict.outcome.folder.failures)
    yield Mark(f"at most {MOST_WASTED} attempts wasted", f"{wasted} wasted", wasted <= MOST_WASTED)


def _stopped_worker(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    happenings = [Happening(0.3, "workers.stopped")]
    yield from _replaced(Plan(seed=seed, delay=LASTING), happenings, path, console)


def _blocked_loop(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    yield from _replaced(Plan(seed=seed, delay=LASTING, blocked_loop=600.0), [], path, console)


def _replaced(plan: Plan, happenings: Sequence[Happening], path: Path, console: Console) -> Iterator[Mark]:
    setup = Setup(plan, 400, 2, {"workers": 2, "concurrency": 16}, happenings, most_seconds=300.0)
    verdict = judged(setup, path)
    yield _lost(verdict, console)
    seconds = verdict.outcome.replaced
    told = ", ".join(f"{s:.0f} s" for s in seconds) or "never"
    held = bool(seconds) and max(seconds) <= REPLACED_SECONDS
    yield Mark(f"replaced within {REPLACED_SECONDS:.0f} s", told, held)


SETTINGS: dict[str, Setup] = {
    f"{field} {value}": Setup(Plan(), 200, 2, {"workers": 0, field: value})
    for field, value in (
        ("pool_size", 1),
        ("pool_size", 4),
        ("pool_size", 64),
        ("concurrency", 1),
        ("concurrency", 8),
        ("concurrency", 64),
        ("workers", 2),
    )
} | {
    "a busy machine": Setup(Plan(), 200, 2, {"workers": 0}, busy=8),
    "a server that stands still for 20 s, under limits.timeout=10": Setup(
        Plan(), 200, 2, {"workers": 0, "limits": {"timeout": 10.0}}, [STILL]
    ),
}
"""Ways to do the same run."""


def _one_score(seed: int, path: Path, console: Console) -> Iterator[Mark]:
    plan = Plan(seed=seed, rates={"tools": 0.02}, kinds={"tools": ["failing"]}, delay=0.05)
    first = None
    for number, (name, setup) in enumerate(SETTINGS.items()):
        setup = setup._replace(plan=plan)
        outcome = do_run(setup, path / str(number))
        found = violations_of(outcome, expected_of(setup), first, plan)
        print_violations(found, console)
        first = first or outcome.folder
        score = (outcome.folder.summary.get("mean_reward") or {}).get("mean")
        yield Mark(f"{name}: every reward and the score as the others", f"{score!r}", not found)


SCENARIOS: dict[str, Scenario] = {
    "away": _away,
    "still": _still,
    "admits": _admits,
    "half-502": _half_502,
    "judge-away": _judge_away,
    "broken-worker": _broken_worker,
    "stopped-worker": _stopped_worker,
    "blocked-loop": _blocked_loop,
    "one-score": _one_score,
}
"""By name."""
