"""Whose a folder is: one driver, one configuration, and nothing of anybody else's is touched."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import yaml
from stored_runs import CONFIG, files_no_larger_than, line, opened

from rollway.errors import UserError
from rollway.evaluation.config_files import load_stored_config
from rollway.evaluation.run_directory import Wanted, claim_path, default_path, open_run


def test_a_second_driver_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    with (
        opened(tmp_path),
        pytest.raises(UserError, match=r"another rollway process \(\d+ on .*\) is running in"),
    ):
        open_run(tmp_path, CONFIG)


def test_the_lock_of_a_killed_driver_does_not_hold(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run_directory import open_run
run = open_run(pathlib.Path({str(tmp_path)!r}), EvalConfig(**{CONFIG.as_dict()!r}))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    opened(tmp_path).close()


def test_the_stored_config_is_the_config(tmp_path: Path) -> None:
    opened(tmp_path).close()
    stored = load_stored_config(tmp_path)
    assert msgspec.structs.replace(stored, out=None) == CONFIG
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["samples"] == 2


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty and not a run directory"):
        open_run(tmp_path, CONFIG)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the run directory"):
        open_run(tmp_path / "file" / "run", CONFIG)


@pytest.mark.parametrize("room", [0, 3, 200])  # for nothing, half the lock's text, half the config
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_of_a_new_run(room: int, tmp_path: Path) -> None:
    with files_no_larger_than(room), pytest.raises(UserError, match="cannot write to the run directory"):
        open_run(tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()
    opened(tmp_path / "run").close()


def test_a_full_disk_leaves_an_older_run_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with open_run(tmp_path, CONFIG) as run, files_no_larger_than(200):
        run.take_stock(Wanted(lambda key: True))
        with pytest.raises(UserError, match="cannot write to the run directory"):
            run.clear_away()
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    with opened(tmp_path) as run:
        assert run.done == {("a", 0)}


def test_runs_that_begin_at_the_same_moment_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = default_path("calculator", "20260101-120000")
    with ThreadPoolExecutor(8) as threads:
        claimed = list(threads.map(claim_path, [first] * 24))
    assert len(set(claimed)) == 24
    assert str(first) in map(str, claimed)
    assert f"{first}-2" in map(str, claimed)


def test_a_place_where_no_folder_can_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the run directory"):
        claim_path(tmp_path / "file" / "run")
