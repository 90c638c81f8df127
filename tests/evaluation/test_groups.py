"""Advantages in the records: of complete groups, and the same when entered again."""

from __future__ import annotations

from pathlib import Path

from stored_runs import line, opened

from rollway.evaluation.groups import fill_advantages
from rollway.evaluation.run_directory import part_files, read_trajectories
from rollway.trajectory import ErrorRecord, StopReason


def test_advantages_are_of_complete_groups_over_their_scored_samples(tmp_path: Path) -> None:
    rewards = {
        ("a", 0): 1.0,
        ("a", 1): 0.0,
        ("a", 2): 0.5,
        ("b", 0): 1.0,
        ("b", 1): 0.0,
        ("c", 0): 1.0,
        ("c", 2): 0.0,
    }
    with opened(tmp_path) as run:
        for key, reward in rewards.items():
            run.append(key, line(key, reward=reward))
        failed = {"reward": None, "stop": StopReason.MODEL_ERROR, "error": ErrorRecord("X", "x")}
        run.append(("b", 2), line(("b", 2), **failed))
        fill_advantages(run, samples=3)
        part = part_files(tmp_path)[0]
        inode = part.stat().st_ino
        fill_advantages(run, samples=3)
        assert part.stat().st_ino == inode, "done again it changes nothing"
    advantages = {(t.task_id, t.sample_index): t.advantage for t in read_trajectories(tmp_path)}
    assert advantages == {
        ("a", 0): 0.5,
        ("a", 1): -0.5,
        ("a", 2): 0.0,
        ("b", 0): 0.5,
        ("b", 1): -0.5,
        ("b", 2): None,
        ("c", 0): None,
        ("c", 2): None,
    }


def test_a_torn_line_is_passed_over_and_stays_for_the_next_driver(tmp_path: Path) -> None:
    torn = line(("b", 0))[:50]
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0), reward=1.0))
        run.append(("a", 1), line(("a", 1), reward=0.0))
        part = part_files(tmp_path)[0]
        part.write_bytes(part.read_bytes() + torn)
        fill_advantages(run, samples=2)
    assert [t.advantage for t in read_trajectories(tmp_path)] == [0.5, -0.5]
    assert part.read_bytes().endswith(b"\n" + torn)
    with opened(tmp_path) as run:
        assert run.done == {("a", 0), ("a", 1)}
    assert (tmp_path / "set_aside.jsonl").read_bytes() == torn + b"\n"
