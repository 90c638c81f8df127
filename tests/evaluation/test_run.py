"""Whole runs in one process against a scripted policy: what is on disk and what is counted at the end."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from scripted_server import ScriptedServer, error, reply

from rollway.errors import UserError
from rollway.evaluation import (
    RunFailed,
    RunInterrupted,
    evaluate,
    evaluate_async,
    plan,
    progress,
    worker,
)
from rollway.evaluation.config_files import load_stored_config
from rollway.evaluation.driver_timings import DriverTimings
from rollway.evaluation.sitting import drive
from rollway.evaluation.summary import read_summary
from rollway.trajectory import StopReason

Config = Callable[..., Any]


async def test_every_rollout_is_on_disk_once(policy, config: Config, stored, tmp_path: Path) -> None:
    summary = await evaluate_async(config(policy, samples=2))
    run = tmp_path / "run"
    found = stored(run)
    assert set(found) == {(f"test-{n}", sample) for n in range(6) for sample in (0, 1)}
    assert {t.stop_reason for t in found.values()} == {StopReason.COMPLETED}
    assert {t.reward for t in found.values()} == {1.0}
    assert (summary.asked, summary.scored, summary.failed, summary.tool_calls) == (12, 12, 0, 12)
    assert sorted(path.name for path in run.iterdir()) == [
        *(
            "config.yaml",
            "identity.json",
            "lock",
            "log.txt",
            "report.html",
            "status.json",
            "summary.json",
            "tasks.jsonl",
        ),
        "trajectories",
    ]
    assert read_summary(run / "summary.json") == summary


async def test_a_rollout_carries_what_it_takes_to_do_it_again(
    policy, config: Config, stored, tmp_path: Path
) -> None:
    await evaluate_async(config(policy, samples=2, tasks=1))
    first, second = stored(tmp_path / "run").values()
    assert first.seed is not None
    assert first.seed != second.seed
    assert (first.model, first.environment, first.group_id, first.advantage) == (
        "scripted",
        "Sums",
        None,
        None,
    )
    sent = [request.body["seed"] for request in policy.requests]
    assert len(set(sent)) == 4, "each turn of each rollout has a seed of its own"


async def test_without_a_seed_none_is_sent(policy, config: Config) -> None:
    await evaluate_async(config(policy, tasks=1, seed=None))
    assert all("seed" not in request.body for request in policy.requests)


async def test_groups_get_ids_and_advantages(config: Config, stored, tmp_path: Path) -> None:
    def sometimes(request: Any) -> Any:
        return reply("The answer is 1." if request.index % 2 else "The answer is 99.")

    async with ScriptedServer(sometimes) as server:
        await evaluate_async(config(server, samples=2, tasks=2, groups=True, concurrency=1))
    found = stored(tmp_path / "run")
    assert [(t.task_id, t.group_id) for t in found.values()] == [(k[0], k[0]) for k in found]
    assert found["train-0", 0].advantage == -0.5
    assert found["train-0", 1].advantage == 0.5


async def test_a_finished_run_is_not_done_again(policy, config: Config, tmp_path: Path) -> None:
    first = await evaluate_async(config(policy))
    asked = len(policy.requests)
    again = await evaluate_async(config("http://127.0.0.1:9"))
    assert len(policy.requests) == asked
    assert again == first


@pytest.mark.parametrize("finished", [True, False])
async def test_a_run_grows_by_samples_and_tasks(
    finished: bool, policy, config: Config, gated, stored, tmp_path: Path
) -> None:
    if finished:
        await evaluate_async(config(policy, tasks=2, samples=2, groups=True))
    else:
        async with ScriptedServer(lambda request: error(400, "no")) as server:
            with pytest.raises(RunFailed):
                await evaluate_async(config(server, tasks=2, samples=2, groups=True))
    before = {key: t for key, t in stored(tmp_path / "run").items() if t.reward is not None}
    summary = await evaluate_async(config(policy, tasks=3, samples=4, groups=True))
    after = stored(tmp_path / "run")
    assert set(after) == {(f"train-{n}", sample) for n in range(3) for sample in range(4)}
    assert (summary.asked, summary.scored, summary.tasks, summary.samples) == (12, 12, 3, 4)
    assert {key: after[key].id for key in before} == {key: t.id for key, t in before.items()}
    assert {t.advantage for t in after.values()} == {0.0}
    assert len(policy.requests) == 24, "each rollout has two turns, and none was done twice"
    again = load_stored_config(tmp_path / "run", {"tasks": None})
    assert (await evaluate_async(again)).asked == 24


async def test_a_run_whose_server_is_gone_does_not_grow(policy, config: Config, tmp_path: Path) -> None:
    summary = await evaluate_async(config(policy, tasks=2))
    with pytest.raises(UserError, match="no server at"):
        await evaluate_async(config("http://127.0.0.1:9", tasks=3))
    assert await evaluate_async(config("http://127.0.0.1:9", tasks=2)) == summary


async def test_failed_rollouts_are_counted_by_kind_and_done_again(
    config: Config, solver, stored, tmp_path: Path
) -> None:
    broken = True

    def sometimes(request: Any) -> Any:
        ill = broken and request.body["messages"][0]["content"].startswith("What is 3 ")
        return error(400, "no") if ill else solver(request)

    async with ScriptedServer(sometimes) as server:
        summary = await evaluate_async(config(server, samples=2))
        assert summary.failures == {"model_error: BadRequest": 2}
        assert (summary.asked, summary.scored, summary.missing) == (12, 10, 0)
        broken = False
        asked = len(server.requests)
        summary = await evaluate_async(config(server, samples=2))
        assert len(server.requests) == asked + 4, "two rollouts of two turns each"
    assert (summary.asked, summary.scored, summary.failed) == (12, 12, 0)
    assert len(stored(tmp_path / "run")) == 12


async def test_a_run_whose_server_is_not_there_when_it_goes_on_is_left_as_it_was(
    config: Config, solver, stored, tmp_path: Path
) -> None:
    def sometimes(request: Any) -> Any:
        ill = request.body["messages"][0]["content"].startswith("What is 3 ")
        return error(400, "no") if ill else solver(request)

    async with ScriptedServer(sometimes) as server:
        summary = await evaluate_async(config(server))
    assert summary.failed == 1
    with pytest.raises(UserError, match="no server at"):
        await evaluate_async(config("http://127.0.0.1:9"))
    assert len(stored(tmp_path / "run")) == 6
    assert not (tmp_path / "run" / "set_aside.jsonl").exists()
    assert read_summary(tmp_path / "run" / "summary.json") == summary


async def test_a_server_that_goes_away_stops_the_run_with_a_reason(config: Config, tmp_path: Path) -> None:
    async with ScriptedServer(
        lambda r: reply("The answer is 1.") if r.index < 5 else error(400, "no")
    ) as server:
        settings = config(server, environment_args={"size": 500}, stop_after_failures=4, concurrency=2)
        with pytest.raises(
            RunFailed, match=r"4 rollouts failed in a row; the last error: BadRequest.*--resume"
        ):
            await evaluate_async(settings)
        assert len(server.requests) <= 12


async def test_a_run_in_which_nothing_was_scored_has_failed(config: Config) -> None:
    async with ScriptedServer([]) as server:
        with pytest.raises(RunFailed, match=r"no rollout was scored: model_error: BadRequest \(6\)"):
            await evaluate_async(config(server))


async def test_an_environment_without_rewards_is_no_failure(policy, config: Config, edit_environment) -> None:
    edit_environment("rewards = [right]", "")
    out = io.StringIO()
    summary = await evaluate_async(config(policy), console=Console(file=out, width=80))
    assert summary.failures == {"not_scored": 6}
    assert "the environment has no rewards: its rollouts are not scored" in out.getvalue().splitlines()[1]


async def test_the_first_interrupt_stops_cleanly_and_the_rest_is_done_later(
    config: Config, gated, stored, tmp_path: Path
) -> None:
    gate = gated(free=6)
    async with ScriptedServer(gate) as server:
        settings = config(server, concurrency=3)
        running = asyncio.create_task(evaluate_async(settings))
        await server.until(lambda s: s.running == 3 and len(s.requests) == 9)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(
            RunInterrupted, match=r"\d of 6 rollouts are on disk; resume with: "
        ) as interrupted:
            await running
        await server.until(lambda s: s.running == 0)
        finished = interrupted.value.summary.finished
        assert 1 <= finished <= 3
        assert len(stored(tmp_path / "run")) == finished == 6 - interrupted.value.summary.missing
        assert len((tmp_path / "run" / "set_aside.jsonl").read_bytes().splitlines()) == 3
        gate.gate.set()
        summary = await evaluate_async(settings)
    assert (summary.scored, summary.missing) == (6, 0)
    assert len(stored(tmp_path / "run")) == 6


async def test_a_wrong_model_name_leaves_no_run_behind(policy, config: Config, tmp_path: Path) -> None:
    settings = config(policy)
    settings = msgspec.structs.replace(settings, model=msgspec.structs.replace(settings.model, name="gpt-5"))
    with pytest.raises(UserError, match=r"gpt-5.*scripted"):
        await evaluate_async(settings)
    assert not (tmp_path / "run").exists()


async def test_two_rewards_of_one_name_are_told_before_anything_starts(
    policy, config: Config, edit_environment
) -> None:
    edit_environment("[right]", "[right, right]")
    with pytest.raises(UserError, match="two rewards named 'right'"):
        await evaluate_async(config(policy))
    assert not policy.requests


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('[{"role": "user"', '[{"role": "human"', "role 'human' (did you mean 'user'?)"),
        ("def prompt(self, task)", "def ask(self, task)", "it has no prompt; define def prompt(self, task)"),
    ],
)
async def test_a_prompt_that_is_none_is_told_before_anything_starts(
    policy, config: Config, edit_environment, old: str, new: str, told: str
) -> None:
    edit_environment(old, new)
    with pytest.raises(UserError) as error:
        await evaluate_async(config(policy))
    assert str(error.value).startswith("environment 'Sums', task 'test-0': ")
    assert told in str(error.value)
    assert not policy.requests


async def test_progress_is_plain_lines_where_there_is_no_terminal(
    policy, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 3600.0)  # none before the end, however long it takes
    out = io.StringIO()
    await evaluate_async(config(policy), console=Console(file=out, width=80))
    first, second, *_ = out.getvalue().splitlines()
    assert first.startswith("6 rollouts of Sums (test): 6 tasks x 1: ")
    assert second.startswith("6/6 done  0 failed  0 in flight")
    assert "mean reward 1.000" in second
    assert "\x1b" not in out.getvalue()


async def test_the_log_is_the_runs_alone(policy, config: Config, tmp_path: Path) -> None:
    logger = logging.getLogger("rollway")
    before = (list(logger.handlers), logger.level)
    await evaluate_async(config(policy))
    assert (list(logger.handlers), logger.level) == before
    assert "0 of 6 rollouts are on disk" in (tmp_path / "run" / "log.txt").read_text()


async def test_an_interrupt_does_not_wait_for_a_teardown_that_hangs(
    config: Config, gated, edit_environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = functools.partial(drive, timings=DriverTimings(stop=0.1))
    monkeypatch.setattr("rollway.evaluation.run.drive", impatient)
    monkeypatch.setattr(worker, "CLOSE_SECONDS", 0.1)
    edit_environment(
        "    def prompt(self, task):",
        "    async def teardown(self, task, workspace, trajectory):\n"
        "        import asyncio\n\n"
        "        await asyncio.Event().wait()\n\n"
        "    def prompt(self, task):",
    )
    async with ScriptedServer(gated()) as server:
        running = asyncio.create_task(evaluate_async(config(server, concurrency=2)))
        await server.until(lambda s: s.running == 2)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(RunInterrupted, match="0 of 6 rollouts"):
            await asyncio.wait_for(running, 60)


async def test_a_tracked_run_is_kept_beside_the_run(policy, config: Config, tmp_path: Path) -> None:
    await evaluate_async(config(policy, tasks=1, wandb={"enabled": True, "mode": "offline"}))
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_evaluate_is_for_programs_without_a_loop(config: Config) -> None:
    with pytest.raises(UserError, match="no server at"):
        evaluate(config("http://127.0.0.1:9"))


async def test_metadata_that_is_no_json_costs_no_score(
    policy, config: Config, edit_environment, stored, tmp_path: Path
) -> None:
    edit_environment(
        "    def prompt(self, task):",
        "    async def teardown(self, task, workspace, trajectory):\n"
        "        if task['n'] == 2:\n"
        "            trajectory.metadata['file'] = object()\n\n"
        "    def prompt(self, task):",
    )
    summary = await evaluate_async(config(policy))
    assert (summary.scored, summary.failures) == (6, {})
    told = [record.metadata for record in stored(tmp_path / "run").values() if record.metadata]
    assert [list(metadata) for metadata in told] == [["values_error"]]


async def test_a_call_in_a_notebook_says_what_to_write(policy, config: Config) -> None:
    with pytest.raises(UserError, match="write 'await evaluate_async"):
        evaluate(config(policy))


async def test_runs_begun_at_the_same_moment_have_folders_of_their_own(
    policy, config: Config, tmp_path: Path, stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan.time, "strftime", lambda form: "20260101-120000")
    await asyncio.gather(*(evaluate_async(config(policy, out=None, tasks=2)) for _ in range(3)))
    folders = sorted(path for path in (tmp_path / "runs").iterdir())
    assert [path.name for path in folders] == [f"Sums-20260101-120000{end}" for end in ("", "-2", "-3")]
    assert all(len(stored(path)) == 2 for path in folders)
