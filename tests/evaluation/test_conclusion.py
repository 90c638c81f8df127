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
        f"cannot write to {run}: File too large; 12 of 12 rollouts are on record"
    )
    assert failed.value.summary.scored == 12
    assert "12 scored" in told.getvalue()
    after = {
        file: file.read_bytes()
        for file in run.rglob("*")
        if file.name not in ("log.txt", "lock") and file.is_file()
    }
    assert after == before
