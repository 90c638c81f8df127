"""Which stored rollouts count, and which are done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stored_runs import CONFIG, keys, line, opened

from rollway.evaluation.run_directory import Wanted, open_run, part_files, read_trajectories
from rollway.keys import Key
from rollway.trajectory import ErrorRecord, StopReason

UNSCORED = {"reward": None, "error": ErrorRecord("ConnectionError", "503", "reward:judge")}
BROKEN = {
    "stop": StopReason.MODEL_ERROR,
    "reward": None,
    "error": ErrorRecord("ServerUnreachable", "gone", "model"),
}
CANCELLED = {"stop": StopReason.CANCELLED, "reward": None}


def read(path: Path) -> dict[Key, float | None]:
    found: dict[Key, float | None] = {}
    for trajectory in read_trajectories(path):
        key = (trajectory.task_id, trajectory.sample_index)
        assert key not in found, f"{key} counts twice"
        found[key] = trajectory.reward
    return found


@pytest.mark.parametrize(
    "failed",
    [
        {"stop": StopReason.MODEL_ERROR, "reward": None, "error": ErrorRecord("ServerUnreachable", "gone")},
        {"stop": StopReason.ENVIRONMENT_ERROR, "reward": None, "error": ErrorRecord("KeyError", "x")},
        {"stop": StopReason.CANCELLED, "reward": None},
        {
            "stop": StopReason.COMPLETED,
            "reward": None,
            "error": ErrorRecord("ValueError", "x", "reward:right"),
        },
    ],
)
def test_a_failed_rollout_is_done_again_and_not_counted_twice(
    tmp_path: Path, failed: dict[str, object]
) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0), **failed))
        run.append(("a", 1), line(("a", 1)))
    with opened(tmp_path) as run:
        assert run.done == {("a", 1)}
        assert not (tmp_path / "set_aside.jsonl").exists(), "it leaves when its replacement has landed"
        run.append(("a", 0), line(("a", 0)))
        assert read(tmp_path) == {("a", 0): 1.0, ("a", 1): 1.0}
        run.settle()
    assert sorted(keys(tmp_path)) == [("a", 0), ("a", 1)]
    assert (tmp_path / "set_aside.jsonl").read_bytes() == line(("a", 0), **failed) + b"\n"


def test_a_rollout_that_nothing_scores_is_done_once(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0), reward=None))
    with opened(tmp_path) as run:
        assert run.done == {("a", 0)}


def test_lines_that_nobody_asked_for_and_doubles_are_set_aside(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
        run.append(("gone", 0), line(("gone", 0)))
    part = part_files(tmp_path)[0]
    part.write_bytes(part.read_bytes() + line(("a", 0)) + b"\n" + b"\0\0\0")
    with opened(tmp_path, lambda key: key[0] == "a") as run:
        assert run.done == {("a", 0)}
    assert keys(tmp_path) == [("a", 0)]
    assert len((tmp_path / "set_aside.jsonl").read_bytes().splitlines()) == 3


@pytest.mark.parametrize("failed", [BROKEN, UNSCORED, CANCELLED])
def test_a_resume_that_is_killed_leaves_no_poorer_record(tmp_path: Path, failed: dict[str, Any]) -> None:
    with opened(tmp_path) as run:
        for n in range(3):
            run.append(("a", n), line(("a", n), **failed))
    with opened(tmp_path) as run:  # and is killed: nothing is settled
        run.append(("a", 1), line(("a", 1)))
    assert read(tmp_path) == {("a", 0): None, ("a", 1): 1.0, ("a", 2): None}
    with opened(tmp_path) as run:
        assert run.done == {("a", 1)}
    assert len(b"".join(part.read_bytes() for part in part_files(tmp_path)).splitlines()) == 3
    assert read(tmp_path) == {("a", 0): None, ("a", 1): 1.0, ("a", 2): None}


@pytest.mark.parametrize(
    ("before", "after"), [(UNSCORED, BROKEN), (UNSCORED, CANCELLED), (BROKEN, CANCELLED)]
)
def test_a_record_is_not_replaced_by_one_that_says_less(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0), **before))
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0), **after))
        run.settle()
    (part,) = part_files(tmp_path)
    assert part.read_bytes() == line(("a", 0), **before) + b"\n"
    assert (tmp_path / "set_aside.jsonl").read_bytes() == line(("a", 0), **after) + b"\n"


def test_of_two_failures_the_later_counts(tmp_path: Path) -> None:
    again = {**BROKEN, "error": ErrorRecord("RequestTimeout", "slow", "model")}
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0), **BROKEN))
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0), **again))
        assert [t.error and t.error.kind for t in read_trajectories(tmp_path)] == ["RequestTimeout"]


def test_what_lacks_only_a_score_is_told_from_what_failed(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0), **UNSCORED))
        run.append(("a", 1), line(("a", 1), **BROKEN))
        run.append(("b", 0), line(("b", 0), reward=None))
    with opened(tmp_path) as run:
        assert run.unscored(("a", 0)) == line(("a", 0), **UNSCORED) + b"\n"
        assert run.unscored(("a", 1)) is None
        assert run.unscored(("b", 0)) is None, "nothing scores it"
    with open_run(tmp_path, CONFIG) as run:
        run.take_stock(Wanted(lambda key: True, scores=True))
        assert run.unscored(("b", 0)) == line(("b", 0), reward=None) + b"\n"


def test_lines_that_moved_are_found_again(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("gone", 0), line(("gone", 0)))
        run.append(("a", 0), line(("a", 0), **UNSCORED))
    with opened(tmp_path, lambda key: key[0] == "a") as run:
        assert run.unscored(("a", 0)) == line(("a", 0), **UNSCORED) + b"\n"
        run.append(("a", 0), line(("a", 0)))
        run.settle()
    assert read(tmp_path) == {("a", 0): 1.0}
