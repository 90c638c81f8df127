"""``status.json``: whole, up to date while a run goes on, and true when it has ended."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scripted_server import ScriptedServer
from stored_runs import files_no_larger_than

from rollway.evaluation import RunFailed, RunInterrupted, evaluate_async
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.overview import Overview
from rollway.evaluation.progress import Counts
from rollway.evaluation.status import Status, StatusFile, read_status, status_of
from rollway.trajectory import StopReason

Config = Callable[..., Any]


def running(**changes: Any) -> Status:
    status = status_of(Counts(10, 2), Overview(in_flight=3), workers_asked=0, started=time.time())
    return msgspec.structs.replace(status, **changes)


async def test_a_finished_run_says_so(policy, config: Config, tmp_path: Path) -> None:
    await evaluate_async(config(policy, samples=2))
    status = read_status(tmp_path / "run")
    assert status is not None
    assert (status.state, status.asked, status.done, status.scored, status.failed) == (
        "finished",
        12,
        12,
        12,
        0,
    )
    assert (status.pid, status.node, status.in_flight) == (os.getpid(), os.uname().nodename, 0)
    assert status.started <= status.updated <= time.time()


async def test_a_run_that_goes_on_says_so_from_its_first_rollout_on(
    config: Config, gated, tmp_path: Path
) -> None:
    async with ScriptedServer(gated()) as server:
        run = asyncio.create_task(evaluate_async(config(server, concurrency=2)))
        await server.until(lambda s: s.running == 2)
        status = read_status(tmp_path / "run")
        assert status is not None
        assert (status.state, status.asked, status.done) == ("running", 6, 0)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(RunInterrupted):
            await run
    status = read_status(tmp_path / "run")
    assert status is not None
    assert (status.state, status.done) == ("interrupted", 0)
    assert status.reason.startswith("interrupted; 0 of 6 rollouts are on disk")


async def test_a_failed_run_says_why_and_what_failed(
    policy, config: Config, edit_environment, tmp_path: Path
) -> None:
    edit_environment("    return str(task", "    return 1 / 0 or str(task")
    with pytest.raises(RunFailed):
        await evaluate_async(config(policy))
    status = read_status(tmp_path / "run")
    assert status is not None
    assert (status.state, status.failed) == ("failed", 6)
    assert status.failures == {"reward_error: ZeroDivisionError": 6}
    assert status.reason.startswith("no rollout was scored: ")


def test_it_is_written_at_once_and_then_when_it_is_time_to(tmp_path: Path) -> None:
    calls = iter(range(100))

    def source() -> Status:
        return running(done=next(calls))

    def done() -> int:
        status = read_status(tmp_path)
        assert status is not None
        return status.done

    seldom = StatusFile(tmp_path, seconds=3600.0)
    seldom.tick()
    assert read_status(tmp_path) is None, "it has not begun"
    seldom.begin(source)
    seldom.tick()
    assert done() == 0
    often = StatusFile(tmp_path, seconds=0.0)
    often.begin(source)
    often.tick()
    assert done() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_a_full_disk_is_told_once_and_leaves_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = StatusFile(tmp_path, seconds=0.0)
    file.begin(running)
    before = (tmp_path / "status.json").read_bytes()
    with files_no_larger_than(10):
        for _ in range(3):
            file.tick()
        file.end("finished")
    assert (tmp_path / "status.json").read_bytes() == before
    assert caplog.text.count("cannot write") == 1


def test_a_folder_that_was_taken_away_is_left_away(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    StatusFile(folder).begin(running)
    assert not folder.exists()


def test_the_numbers_are_those_of_the_progress() -> None:
    counts = Counts(10, 2)
    counts.add(Outcome(b"{}", StopReason.COMPLETED, False, 0.5, 7))
    counts.add(Outcome(b"{}", StopReason.MODEL_ERROR, True, None, 0, "Gone: away", "Gone"))
    status = status_of(counts, Overview(in_flight=3), workers_asked=2, started=1.0)
    assert (status.done, status.before, status.scored, status.failed, status.in_flight) == (4, 2, 1, 1, 3)
    assert status.failures == {"model_error: Gone": 1}
    assert status.mean_reward == 0.5
    assert msgspec.json.decode(msgspec.json.encode(status), type=Status) == status


async def test_it_names_workers_servers_and_the_oldest_rollouts(
    config: Config, gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_every_look = functools.partial(StatusFile, seconds=0.0)
    monkeypatch.setattr("rollway.evaluation.start_and_end.StatusFile", at_every_look)
    gate = gated()
    async with ScriptedServer(gate) as server:
        run = asyncio.create_task(evaluate_async(config(server, concurrency=2)))
        async with asyncio.timeout(60):
            while (status := read_status(tmp_path / "run")) is None or len(status.oldest) < 2:
                await asyncio.sleep(0.01)
        gate.gate.set()
        await run
    (worker,) = status.workers
    assert (worker.name, worker.node, worker.in_flight) == ("this process", os.uname().nodename, 2)
    assert [report.address for report in status.servers] == [server.url]
    assert [rollout.task_id for rollout in status.oldest] == ["test-0", "test-1"]
