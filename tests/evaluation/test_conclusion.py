"""The end of a run: what is on record is counted and told, also where nothing more can be written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stored_runs import files_no_larger_than

from rollway.evaluation import RunFailed, evaluate_async
from rollway.evaluation.conclusion import seconds_before
from rollway.evaluation.run_directory import part_files

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


async def test_the_seconds_of_earlier_sittings_are_unknown_where_their_summary_cannot_be_read(
    policy, config: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    summary = await evaluate_async(config(policy))
    assert seconds_before(run) == summary.wall_seconds
    file = run / "summary.json"
    for broken in (file.read_bytes().replace(b"completed", b"\xff"), b"{", b""):
        file.write_bytes(broken)
        assert seconds_before(run) is None
    file.unlink()
    assert seconds_before(run) is None
    part_files(run)[0].unlink()
    assert seconds_before(run) == 0.0
