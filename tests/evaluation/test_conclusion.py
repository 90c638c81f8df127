"""The end of a run: what is on record is counted and told, also where nothing more can be written."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stored_runs import files_no_larger_than

from rollway.evaluation import RunFailed, evaluate_async
from rollway.evaluation.run_directory import part_files
from rollway.evaluation.sittings import earlier_sittings, seconds_of
from rollway.stored.identity import Sitting, read_identity, write_identity

Config = Callable[..., Any]


@pytest.mark.parametrize("groups", [False, True])
async def test_a_full_disk_at_the_end_is_told_in_one_line_beside_the_numbers(
    groups: bool, policy, config: Config, tmp_path: Path
) -> None:
    settings = config(policy, groups=groups, samples=2)
    await evaluate_async(settings)
    run = tmp_path / "run"
    before = {
        file: file.read_bytes()
        for file in run.rglob("*")
        if file.name not in ("log.txt", "lock") and file.is_file()
    }
    told = io.StringIO()
    with files_no_larger_than(2_000), pytest.raises(RunFailed) as failed:
        await evaluate_async(settings, console=Console(file=told))
    assert str(failed.value).startswith(
        f"cannot write to {run}: File too large; 12 of 12 rollouts are on disk"
    )
    assert failed.value.summary.scored == 12
    assert "12 scored" in told.getvalue()
    after = {
        file: file.read_bytes()
        for file in run.rglob("*")
        if file.name not in ("log.txt", "lock") and file.is_file()
    }
    assert after == before


async def test_the_seconds_of_a_sitting_that_was_killed_count_up_to_its_last_rollout(
    policy, config: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    summary = await evaluate_async(config(policy))
    assert (summary.sittings, seconds_of(earlier_sittings(run))) == (1, summary.wall_seconds)
    identity = read_identity(run)
    assert identity is not None
    identity.sittings = [Sitting(1_000.0, 7.0), Sitting(5_000.0)]
    write_identity(run, identity)
    for part in part_files(run):
        os.utime(part, (5_030.0, 5_030.0))
    assert [one.seconds for one in earlier_sittings(run)] == [7.0, 30.0]
    (run / "summary.json").unlink()
    summary = await evaluate_async(config(policy, samples=2))
    assert summary.wall_seconds is not None
    assert summary.wall_seconds > 37.0
    assert summary.sittings == 3
    assert (await evaluate_async(config(policy, samples=2))) == summary, "nothing ran"


async def test_the_seconds_of_an_older_run_are_unknown_where_its_summary_cannot_be_read(
    policy, config: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    summary = await evaluate_async(config(policy))
    (run / "identity.json").unlink()
    assert seconds_of(earlier_sittings(run)) == summary.wall_seconds
    file = run / "summary.json"
    for broken in (file.read_bytes().replace(b"completed", b"\xff"), b"{", b""):
        file.write_bytes(broken)
        assert seconds_of(earlier_sittings(run)) is None
    file.unlink()
    assert seconds_of(earlier_sittings(run)) is None
    part_files(run)[0].unlink()
    assert seconds_of(earlier_sittings(run)) == 0.0
