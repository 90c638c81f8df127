"""Which stored rollouts count, and which are done again."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_runs import keys, line, opened

from rollway.evaluation.run_directory import part_files
from rollway.trajectory import ErrorRecord, StopReason


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
        run.append(("a", 0), line(("a", 0)))
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
