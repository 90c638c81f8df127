"""The judge of a chaos run finds what is wrong, and names the promise and the rollout."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaos_records import sound_run

from rollway.chaos.checks import (
    EXPECTED_FAILURES,
    SAME_SCORE,
    SUMMED_UP,
    record_violations,
    same_rewards,
    score_violations,
    unexpected_failures,
)
from rollway.chaos.reading import LineCount, read_run

Lines = list[dict[str, Any]]

BROKEN: dict[str, tuple[str, Callable[[Lines], object]]] = {
    "a missing line": ("the set of keys is exact", lambda lines: lines.pop(4)),
    "a line of another task": (
        "the set of keys is exact",
        lambda lines: lines.append(lines[0] | {"id": "x", "task_id": "y"}),
    ),
    "a doubled line": ("nothing is doubled", lambda lines: lines.append(copy.deepcopy(lines[2]))),
    "a line with another's id": ("nothing is doubled", lambda lines: lines[3].update(id=lines[2]["id"])),
    "a cut rollout": ("all is scored", lambda lines: lines[1].update(stop_reason="timeout")),
    "a rollout without a score": ("all is scored", lambda lines: lines[1].update(reward=None)),
    "an error beside a score": ("all is scored", lambda lines: lines[1].update(error={"kind": "OSError"})),
    "another seed": ("each rollout has its seed", lambda lines: lines[1].update(seed=7)),
    "a reward that is a bit off": (
        "rewards are exact",
        lambda lines: lines[5]["rewards"].update(used=lines[5]["rewards"]["used"] + 1e-16 + 1e-15),
    ),
    "a missing reward": ("rewards are exact", lambda lines: lines[5]["rewards"].pop("brief")),
    "another sum": ("rewards are exact", lambda lines: lines[5].update(reward=0.123)),
    "a missing turn": ("turns are as sampled", lambda lines: lines[0]["turns"].pop(0)),
    "another token": ("turns are as sampled", lambda lines: lines[0]["turns"][0]["token_ids"].append(5)),
    "another logprob": (
        "turns are as sampled",
        lambda lines: lines[0]["turns"][0]["logprobs"].__setitem__(0, -9.0),
    ),
    "other arguments": (
        "turns are as sampled",
        lambda lines: lines[0]["turns"][0]["tool_calls"][0].update(arguments="{}"),
    ),
    "a token that is not trained": (
        "each token is trained once",
        lambda lines: lines[0]["sequences"][0]["loss_mask"].__setitem__(-1, 0),
    ),
    "a token that is trained twice": (
        "each token is trained once",
        lambda lines: lines[0]["sequences"].append(copy.deepcopy(lines[0]["sequences"][0])),
    ),
    "a tool's answer that is trained": (
        "each token is trained once",
        lambda lines: lines[0]["sequences"][0]["loss_mask"].__setitem__(0, 1),
    ),
    "lists of different lengths": (
        "each token is trained once",
        lambda lines: lines[0]["sequences"][0]["logprobs"].pop(),
    ),
    "a missing answer": ("each call is answered once", lambda lines: lines[0]["messages"].pop(2)),
    "two answers": (
        "each call is answered once",
        lambda lines: lines[0]["messages"].insert(2, lines[0]["messages"][2]),
    ),
    "an error for an answer": (
        "each call is answered once",
        lambda lines: _first_answered(lines)["messages"][2].update(content="Error: timed out"),
    ),
    "words behind the end": (
        "each call is answered once",
        lambda lines: lines[0]["messages"].append({"role": "user", "content": "Go on."}),
    ),
}


def _first_answered(lines: Lines) -> dict[str, Any]:
    return next(line for line in lines if not line["messages"][2]["content"].startswith("Error"))


def test_a_sound_run_breaks_no_promise() -> None:
    lines, expected = sound_run()
    assert record_violations(lines, expected) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(name: str) -> None:
    promise, break_it = BROKEN[name]
    lines, expected = sound_run()
    break_it(lines)
    assert promise in {found.promise for found in record_violations(lines, expected)}


def test_a_finding_names_its_rollout() -> None:
    lines, expected = sound_run()
    lines[5]["rewards"].pop("brief")
    assert {found.key for found in record_violations(lines, expected)} == {("000005", 0)}


def summary(lines: Lines, **changes: Any) -> dict[str, Any]:
    """As a run of these lines writes it."""
    mean = {"mean": sum(line["reward"] for line in lines) / len(lines)}
    count = len(lines)
    return {"asked": count, "scored": count, "failed": 0, "missing": 0, "mean_reward": mean} | changes


def test_a_score_must_be_that_of_the_policy_and_of_the_run_without_faults() -> None:
    lines, expected = sound_run()
    good = summary(lines)
    assert score_violations(good, lines, good, expected) == []
    bit = good | {"mean_reward": {"mean": good["mean_reward"]["mean"] + 1e-16 + 1e-15}}
    assert [found.promise for found in score_violations(bit, lines, good, expected)] == [SAME_SCORE]
    far = good | {"mean_reward": {"mean": 0.5}}
    assert [found.promise for found in score_violations(far, lines, {}, expected)] == [SAME_SCORE]


def test_a_summary_must_count_every_rollout() -> None:
    lines, expected = sound_run()
    found = score_violations(summary(lines, scored=11, failed=1), lines, {}, expected)
    assert [one.promise for one in found] == [SUMMED_UP]


def test_a_reward_must_be_that_of_the_run_without_faults() -> None:
    lines, _ = sound_run()
    before = copy.deepcopy(lines)
    assert list(same_rewards(lines, before)) == []
    lines[4]["reward"] += 1e-15
    (found,) = same_rewards(lines, before)
    assert (found.promise, found.key) == (SAME_SCORE, ("000004", 0))


def test_a_failure_that_no_fault_explains_is_found() -> None:
    failures: Lines = [
        {"error": {"kind": "OSError"}},
        {"error": {"kind": "KeyError"}},
        {"stop_reason": "cancelled"},
    ]
    found = unexpected_failures(failures, {"OSError", "cancelled"})
    assert [(one.promise, one.detail) for one in found] == [
        (EXPECTED_FAILURES, "1 attempts failed with KeyError")
    ]


def test_a_torn_line_is_found_and_none_is_skipped(tmp_path: Path) -> None:
    lines, _ = sound_run(3)
    (tmp_path / "trajectories").mkdir()
    part = tmp_path / "trajectories" / "part-00000.jsonl"
    part.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"id": "half')
    run = read_run(tmp_path)
    assert len(run.records) == 3
    assert run.torn == ["part-00000.jsonl, line 4"]


def test_lines_are_counted_as_they_come_and_again_when_a_part_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "trajectories").mkdir()
    part = tmp_path / "trajectories" / "part-00000.jsonl"
    count = LineCount(tmp_path)
    assert count() == 0
    part.write_text("{}\n{}\n{")
    assert count() == 2
    part.write_text("{}\n{}\n{}\n")
    assert count() == 3
    part.write_text("{}\n")
    assert count() == 1
