"""The end of a run: what is on record is counted and told, also where nothing more can be written."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted_server import ScriptedServer, error
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


@pytest.fixture
async def two_of_six_fail(solver) -> AsyncIterator[ScriptedServer]:
    def sometimes(request: Any) -> Any:
        ill = any(word in request.body["messages"][0]["content"] for word in ("is 3 ", "is 4 "))
        return error(400, "no") if ill else solver(request)

    async with ScriptedServer(sometimes) as server:
        yield server


@pytest.mark.parametrize("most", [0, 1, 0.3, "33%"])
async def test_more_rollouts_without_a_score_than_allowed_fail_the_run(
    most: object, two_of_six_fail, config: Config, tmp_path: Path
) -> None:
    with pytest.raises(RunFailed) as failed:
        await evaluate_async(config(two_of_six_fail, max_failed=most))
    assert str(failed.value).startswith("2 of 6 have no score: 2 BadRequest; last error: BadRequest: ")
    assert str(failed.value).endswith(f"; resume with: rollway eval --resume {tmp_path / 'run'}")
    assert failed.value.summary.scored == 4


@pytest.mark.parametrize("most", [2, 0.34, "34 %", 1.0])
async def test_a_run_may_have_some_rollouts_without_a_score(
    most: object, two_of_six_fail, config: Config
) -> None:
    assert (await evaluate_async(config(two_of_six_fail, max_failed=most))).scored == 4


async def test_a_reward_that_raises_leaves_no_score(policy, config: Config, edit_environment) -> None:
    edit_environment(
        "    return str(", '    if task["n"] == 2:\n        raise ValueError("no")\n    return str('
    )
    with pytest.raises(RunFailed, match=r"^1 of 6 have no score: 1 ValueError"):
        await evaluate_async(config(policy, max_failed=0))


async def test_rollouts_that_nothing_is_to_score_are_no_failures(
    policy, config: Config, edit_environment
) -> None:
    edit_environment("    rewards = [right]\n", "")
    assert (await evaluate_async(config(policy, max_failed=0))).finished == 6


@pytest.mark.parametrize("most", [-1, 1.5, "5", "five %", "101%", True])
def test_what_is_no_number_and_no_share_is_refused_in_one_line(most: object, config: Config) -> None:
    with pytest.raises(ValueError, match=r"max_failed"):
        config("http://127.0.0.1:9", max_failed=most)
