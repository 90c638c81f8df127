"""The verdict on a chaos run: what is found outside of its lines, and which fault is blamed for what."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from chaos_records import sound_run

from rollway.chaos.checks import (
    ENDINGS,
    FINISHED,
    NOTHING_LEFT,
    RIGHT_HISTORY,
    WHOLE_LINES,
    Expected,
    Violation,
)
from rollway.chaos.faults import Plan
from rollway.chaos.happenings import Happening, planned
from rollway.chaos.judging import Row, allowed_failures, rows_of, violations_of
from rollway.chaos.processes import MARK, can_be_found, processes_of
from rollway.chaos.reading import RunFolder
from rollway.chaos.runs import Outcome, Sitting
from rollway.chaos.server import LogLine

DONE = Sitting(0, True, 1.0, "")


def outcome(**changes: Any) -> tuple[Outcome, Expected]:
    """A sound run, as it is seen from outside."""
    lines, expected = sound_run()
    count = len(lines)
    mean = {"mean": sum(line["reward"] for line in lines) / count}
    counts = {"asked": count, "scored": count, "failed": 0, "missing": 0}
    folder = RunFolder(lines, [], [], [], {**counts, "mean_reward": mean})
    seen = Outcome(folder, [DONE], True, [], Counter(), {}, [], {}, 1.0)
    return seen._replace(**changes), expected


def test_a_sound_run_is_sound() -> None:
    seen, expected = outcome()
    assert violations_of(seen, expected, seen.folder, Plan()) == []


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"sittings": [DONE._replace(exit_code=2, expected=False)]}, ENDINGS),
        ({"sittings": [DONE._replace(exit_code=None, expected=False)]}, ENDINGS),
        ({"finished": False}, FINISHED),
        ({"left": {77: "sleep 1000"}}, NOTHING_LEFT),
        ({"log": [LogLine("wrong", "000001", 5, 1, 0.0)]}, RIGHT_HISTORY),
    ],
)
def test_what_is_wrong_outside_of_the_lines_is_found(changes: dict[str, Any], promise: str) -> None:
    seen, expected = outcome(**changes)
    assert [found.promise for found in violations_of(seen, expected, None, Plan())] == [promise]


def test_a_torn_line_is_a_broken_promise() -> None:
    seen, expected = outcome()
    seen = seen._replace(folder=seen.folder._replace(torn=["part-00000.jsonl, line 4"]))
    assert [found.promise for found in violations_of(seen, expected, None, Plan())] == [WHOLE_LINES]


def test_only_the_faults_of_the_run_explain_a_failure() -> None:
    assert "ServerUnreachable" in allowed_failures(Plan(rates={"replies": 0.1}), [])
    assert "ServerUnreachable" not in allowed_failures(Plan(rates={"hooks": 0.1}), [])
    assert "cancelled" in allowed_failures(Plan(), ["driver.interrupted"])


def rows(plan: Plan, seen: Outcome, expected: Expected, *broken: tuple[str, int]) -> dict[str, Row]:
    violations = [Violation("all is scored", "it is not", key) for key in broken]
    return {row.fault: row for row in rows_of(seen, expected, violations, plan)}


def test_a_broken_promise_is_blamed_on_the_fault_that_struck_the_rollout() -> None:
    plan = Plan(
        rates={"replies": 0.1, "hooks": 0.1, "driver": 1},
        kinds={"replies": ["502"], "hooks": ["setup"], "driver": ["killed"]},
    )
    seen, expected = outcome(
        keys={"hooks.setup": ["000003"]}, struck=Counter({"hooks.setup": 1, "driver.killed": 1})
    )
    seed = expected.seeds["000004", 0] * 10 + 1
    seen.log.append(LogLine("502", "000004", seed, 1, 0.0))

    by_hook = rows(plan, seen, expected, ("000003", 0))
    assert [by_hook[name].lost for name in ("replies.502", "hooks.setup", "driver.killed")] == [0, 1, 0]
    by_reply = rows(plan, seen, expected, ("000004", 0))
    assert [by_reply[name].lost for name in ("replies.502", "hooks.setup", "driver.killed")] == [1, 0, 0]
    by_nobody = rows(plan, seen, expected, ("000005", 0))
    assert [by_nobody[name].held for name in ("replies.502", "hooks.setup", "driver.killed")] == [
        True,
        True,
        False,
    ]


def test_happenings_are_the_same_for_a_seed_and_fall_within_the_run() -> None:
    plan = Plan(seed=2, rates={"driver": 3, "servers": 2})
    names = Counter(one.name for one in planned(plan, 1.0))
    assert names == {
        "driver.killed": 1,
        "driver.interrupted": 1,
        "driver.terminated": 1,
        "servers.away": 1,
        "servers.still": 1,
    }
    assert planned(plan, 1.0) == planned(plan, 1.0)
    assert all(0 < one.at < 0.95 for one in planned(plan, 1.0))
    assert planned(Plan(), 1.0) == list[Happening]()


@pytest.mark.skipif(not can_be_found(), reason="no /proc")
def test_the_processes_of_a_run_are_found_and_no_others() -> None:
    command = [sys.executable, "-c", "print(flush=True); import sys; sys.stdin.read()"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(command, env={MARK: "this"}, **pipes) as ours,
        subprocess.Popen(command, env={MARK: "that"}, **pipes) as others,
    ):
        for process in (ours, others):
            assert process.stdout is not None
            process.stdout.readline()
        assert list(processes_of("this")) == [ours.pid]
        for process in (ours, others):
            assert process.stdin is not None
            process.stdin.close()
