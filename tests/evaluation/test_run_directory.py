"""What a run directory promises: each key once, whole lines, one driver, one configuration."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.errors import UserError
from rollway.evaluation import run_directory
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.config_files import load_stored_config
from rollway.evaluation.groups import fill_advantages
from rollway.evaluation.run_directory import (
    RunDirectory,
    default_path,
    open_run,
    part_files,
    read_trajectories,
)
from rollway.evaluation.tasks import Key
from rollway.trajectory import ErrorRecord, StopReason, Trajectory, encode_trajectory

CONFIG = EvalConfig(environment="calculator", split="test", samples=2)


def record(key: Key, *, reward: float | None = 1.0, stop: StopReason = StopReason.COMPLETED, **more: object):
    task_id, sample = key
    return Trajectory(
        id=f"{task_id}-{sample}",
        messages=[{"role": "user", "content": "hé"}],
        task_id=task_id,
        sample_index=sample,
        reward=reward,
        stop_reason=stop,
        **more,
    )


def line(key: Key, **fields: object) -> bytes:
    return encode_trajectory(record(key, **fields))


def opened(path: Path, asked: Callable[[Key], bool] = lambda key: True) -> RunDirectory:
    run = open_run(path, CONFIG)
    run.take_stock(asked)
    return run


def keys(path: Path) -> list[Key]:
    return [(t.task_id, t.sample_index) for t in read_trajectories(path)]


def test_what_was_appended_is_there_when_the_run_is_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
        run.append(("a", 1), line(("a", 1)))
    with opened(tmp_path) as run:
        assert run.done == {("a", 0), ("a", 1)}
        run.append(("b", 0), line(("b", 0)))
    assert keys(tmp_path) == [("a", 0), ("a", 1), ("b", 0)]


def test_a_key_cannot_be_written_twice(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
        with pytest.raises(ValueError, match="on record already"):
            run.append(("a", 0), line(("a", 0)))


@given(cut=st.integers(0, 400))
@settings(max_examples=25, deadline=None)
def test_a_part_cut_at_any_byte_loses_only_the_line_that_was_cut(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("run")
    written = [("a", 0), ("a", 1), ("b", 0)]
    with opened(path) as run:
        for key in written:
            run.append(key, line(key))
    part = part_files(path)[0]
    whole = part.read_bytes()
    part.write_bytes(whole[: min(cut, len(whole))])
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    survivors = [key for key, end in zip(written, ends, strict=True) if end <= cut]
    with opened(path) as run:
        assert sorted(run.done) == sorted(survivors)
        for key in written:
            if key not in run.done:
                run.append(key, line(key))
    assert sorted(keys(path)) == sorted(written)
    assert all(part.read_bytes().endswith(b"\n") for part in part_files(path) if part.stat().st_size)


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


def test_a_part_that_needs_no_change_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
    part = part_files(tmp_path)[0]
    before = part.stat().st_ino
    opened(tmp_path).close()
    assert part.stat().st_ino == before


def test_parts_are_closed_when_they_have_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "PART_BYTES", 10)
    with opened(tmp_path) as run:
        for sample in range(3):
            run.append(("a", sample), line(("a", sample)))
    assert [part.name for part in part_files(tmp_path)] == [f"part-0000{n}.jsonl" for n in range(3)]
    assert keys(tmp_path) == [("a", 0), ("a", 1), ("a", 2)]


def test_after_a_failed_write_nothing_is_glued_to_half_a_line(tmp_path: Path) -> None:
    with opened(tmp_path) as run, Path("/dev/full").open("wb", buffering=0) as full:
        run.append(("a", 0), line(("a", 0)))
        assert run._part is not None
        run._part.close()
        run._part = full
        with pytest.raises(OSError, match="No space left"):
            run.append(("a", 1), line(("a", 1)))
        run.append(("b", 0), line(("b", 0)))
    assert keys(tmp_path) == [("a", 0), ("b", 0)]


def test_a_second_driver_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(UserError, match=r"another driver is at work .*process \d+ on"):
        open_run(tmp_path, CONFIG)


def test_the_lock_of_a_killed_driver_does_not_hold(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run_directory import open_run
run = open_run(pathlib.Path({str(tmp_path)!r}), EvalConfig.model_validate({CONFIG.as_dict()!r}))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    opened(tmp_path).close()


def test_the_stored_config_is_the_config(tmp_path: Path) -> None:
    opened(tmp_path).close()
    stored = load_stored_config(tmp_path)
    assert stored.model_copy(update={"out": None}) == CONFIG
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["samples"] == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"samples": 3}, "samples was 2 and is now 3"),
        ({"sampling": {"temperature": 0.5}}, "sampling.temperature was None and is now 0.5"),
        ({"limits": {"max_turns": 4}}, "limits.max_turns was 30 and is now 4"),
        ({"environment_args": {"a": 1}}, "environment_args was {} and is now {'a': 1}"),
        ({"model": {"policy": "calculator-weak"}}, "model.policy"),
        ({"seed": 1}, "seed was 0 and is now 1"),
    ],
)
def test_a_run_of_another_configuration_is_refused_by_the_field_that_differs(
    tmp_path: Path, changes: dict[str, object], field: str
) -> None:
    opened(tmp_path).close()
    other = EvalConfig.model_validate({"environment": "calculator", "split": "test", "samples": 2, **changes})
    with pytest.raises(UserError, match="run of another configuration") as error:
        open_run(tmp_path, other)
    assert field in str(error.value)


def test_how_a_run_is_done_may_change(tmp_path: Path) -> None:
    opened(tmp_path).close()
    changed = {"workers": 7, "concurrency": 3, "wandb": {"enabled": True}, "out": "elsewhere"}
    open_run(tmp_path, EvalConfig.model_validate(CONFIG.as_dict() | changed)).close()


def test_a_field_that_came_later_has_its_default_in_an_older_run(tmp_path: Path) -> None:
    opened(tmp_path).close()
    stored = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del stored["reasoning_parser"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stored))
    opened(tmp_path).close()


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty and no run directory"):
        open_run(tmp_path, CONFIG)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the run directory"):
        open_run(tmp_path / "file" / "run", CONFIG)


def test_two_runs_of_one_second_get_two_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = default_path("calculator", "20260101-120000")
    first.mkdir(parents=True)
    assert str(default_path("calculator", "20260101-120000")) == f"{first}-2"


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
