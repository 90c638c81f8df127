"""The rollouts of a run, whatever is wrong with what they are made of."""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted_server import ScriptedServer

from rollway.errors import UserError
from rollway.evaluation import RunFailed, evaluate_async
from rollway.evaluation.backends import LocalBackend, WorkerDied, WorkerHandle
from rollway.evaluation.driver_timings import DriverTimings
from rollway.evaluation.outcomes import Outcome
from rollway.evaluation.quiet import QuietTimes
from rollway.evaluation.reports import WorkerReport
from rollway.evaluation.run_directory import part_files, read_attempts
from rollway.evaluation.sitting import drive
from rollway.evaluation.summary import read_summary
from rollway.evaluation.tasks import Job
from rollway.evaluation.worker import WorkerSpec
from rollway.tools.replay import RecordingWriter
from rollway.trajectory import StopReason

Config = Callable[..., Any]

ROWS = '''
class Rows:
    """As of a dataset: a column of ids, and rows that are decoded when they are asked for."""

    column_names = ("task_id", "n")

    def __init__(self, unreadable):
        self.unreadable = unreadable

    def __len__(self):
        return 4

    def __getitem__(self, key):
        if key == "task_id":
            return [f"test-{n}" for n in range(4)]
        if key == self.unreadable:
            raise OSError("cannot identify image file")
        return {"task_id": f"test-{key}", "n": key}


class Sums(Environment):'''


async def test_a_task_that_cannot_be_read_fails_its_own_rollouts_alone(
    policy, config: Config, edit_environment, stored, tmp_path: Path
) -> None:
    edit_environment("class Sums(Environment):", ROWS)
    edit_environment(
        'return [{"task_id": f"{split}-{n}", "n": n} for n in range(self.size)]', "return Rows(2)"
    )
    summary = await evaluate_async(config(policy, samples=2, concurrency=2))
    assert (summary.scored, summary.failures) == (6, {"environment_error: OSError": 2})
    found = stored(tmp_path / "run")
    assert len(found) == 8
    lost = found["test-2", 1]
    assert lost.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert lost.error is not None
    assert lost.error.message == "cannot identify image file"


async def test_a_run_that_cannot_be_gone_on_with_ends_in_its_summary(
    policy, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoWorkers:
        def __init__(self, spec: WorkerSpec, **more: Any) -> None: ...

        async def start_worker(self, number: int) -> WorkerHandle:
            raise UserError("tools.mcp: the server is not there any more")

    await evaluate_async(config(policy))
    run = tmp_path / "run"
    part = part_files(run)[0]
    part.write_bytes(part.read_bytes()[:-20])
    monkeypatch.setattr("rollway.evaluation.run.LocalBackend", NoWorkers)
    with pytest.raises(
        RunFailed, match=r"^tools.mcp: the server is not there any more; 5 of 6 rollouts are on"
    ):
        await evaluate_async(config(policy))
    summary = read_summary(run / "summary.json")
    assert (summary.scored, summary.missing) == (5, 1)
    assert summary.wall_seconds is not None


async def test_a_worker_that_cannot_begin_later_ends_the_run_in_its_summary(
    policy, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mortal:
        """Does two jobs."""

        name, node = "mortal", "a machine"

        def __init__(self, worker: WorkerHandle) -> None:
            self.worker, self.done = worker, 0

        async def run(self, job: Job) -> Outcome:
            self.done += 1
            if self.done > 2:
                raise WorkerDied("out of memory")
            return await self.worker.run(job)

        async def stop(self) -> None:
            await self.worker.stop()

        async def close(self) -> None:
            await self.worker.close()

        async def kill(self) -> None:
            await self.worker.kill()

        async def heartbeat(self) -> WorkerReport | None:
            return await self.worker.heartbeat()

        def report(self) -> WorkerReport | None:
            return self.worker.report()

    class OneWorker(LocalBackend):
        begun = False

        async def start_worker(self, number: int) -> WorkerHandle:
            if self.begun:
                raise UserError("the environment's file is gone")
            self.begun = True
            return Mortal(await super().start_worker(number))

    monkeypatch.setattr("rollway.evaluation.run.LocalBackend", OneWorker)
    with pytest.raises(
        RunFailed, match=r"^the environment's file is gone; 2 of 6 rollouts are on disk; resume"
    ):
        await evaluate_async(config(policy, concurrency=1))
    assert read_summary(tmp_path / "run" / "summary.json").scored == 2


async def test_recordings_that_do_not_get_to_the_disk_are_told_in_one_line_beside_the_numbers(
    policy, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(shelf: RecordingWriter) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(RecordingWriter, "close", close)
    with pytest.raises(
        RunFailed, match=r"^cannot write to .*/run: Disk quota exceeded; 6 of 6 rollouts are on"
    ):
        await evaluate_async(config(policy, tools={"record": True}))
    assert read_summary(tmp_path / "run" / "summary.json").scored == 6


async def test_a_metric_that_is_no_number_ends_nothing(
    policy, config: Config, edit_environment, stored, tmp_path: Path
) -> None:
    edit_environment(
        "    def prompt(self, task):",
        "    async def teardown(self, task, workspace, trajectory):\n"
        "        trajectory.metrics['mean'] = float('nan') if task['n'] == 2 else 0.5\n\n"
        "    def prompt(self, task):",
    )
    summary = await evaluate_async(config(policy))
    assert summary.scored == 6
    found = stored(tmp_path / "run")
    assert "mean" not in found["test-2", 0].metrics
    assert found["test-3", 0].metrics["mean"] == 0.5


async def test_a_first_task_that_cannot_be_read_is_told_before_anything_starts(
    config: Config, edit_environment, tmp_path: Path
) -> None:
    edit_environment("class Sums(Environment):", ROWS)
    edit_environment(
        'return [{"task_id": f"{split}-{n}", "n": n} for n in range(self.size)]', "return Rows(0)"
    )
    with pytest.raises(
        UserError,
        match=r"'Sums', split 'test': task 'test-0' cannot be read: OSError: cannot identify image file",
    ):
        await evaluate_async(config("http://127.0.0.1:9"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", ["deleted", "moved", "moved and made again", "only its trajectories"])
@pytest.mark.parametrize("records", [True, False])
async def test_a_run_whose_folder_is_gone_stops_with_a_reason(
    how: str, records: bool, config: Config, gated, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    gate = gated(free=4)
    async with ScriptedServer(gate) as server:
        settings = config(server, concurrency=2, tools={"record": records})
        running = asyncio.create_task(evaluate_async(settings))
        await server.until(lambda s: s.running == 2 and len(s.requests) == 6)
        if how == "deleted":
            shutil.rmtree(run)
        elif how == "only its trajectories":
            shutil.rmtree(run / "trajectories")
        else:
            run.rename(tmp_path / "elsewhere")
            if how == "moved and made again":
                (run / "trajectories").mkdir(parents=True)
        gate.gate.set()
        with pytest.raises(RunFailed, match=r"the folder is gone: it was deleted.*resume with") as told:
            await running
        assert "\n" not in str(told.value)
        assert len(server.requests) <= 10, "no more rollouts start"
    if how in ("deleted", "moved"):
        assert not run.exists(), "nothing is made anew where the run was"


async def test_a_run_in_which_nothing_ends_says_so_on_the_screen_and_in_the_log(
    config: Config, gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Screen(io.StringIO):
        told = asyncio.Event()

        def write(self, text: str) -> int:
            if "no rollout has ended" in text:
                self.told.set()
            return super().write(text)

    impatient = functools.partial(drive, quiet=QuietTimes(seconds=0.0))
    monkeypatch.setattr("rollway.evaluation.run.drive", impatient)
    gate, screen = gated(), Screen()
    async with ScriptedServer(gate) as server:
        running = asyncio.create_task(
            evaluate_async(config(server, concurrency=2), console=Console(file=screen, width=80))
        )
        await asyncio.wait_for(screen.told.wait(), 60)
        gate.gate.set()
        await running
    for told in (screen.getvalue(), (tmp_path / "run" / "log.txt").read_text()):
        assert "no rollout has ended for 0 s: 2 in flight; the oldest: task 'test-0' sample 0, 0 s in" in told


async def test_what_waits_for_another_try_is_on_record_when_the_run_stops_before(
    policy, config: Config, edit_environment, stored, tmp_path: Path
) -> None:
    edit_environment(
        "    def prompt(self, task):",
        "    async def setup(self, task):\n"
        "        raise ConnectionError('503')\n\n"
        "    def prompt(self, task):",
    )
    with pytest.raises(RunFailed, match=r"^4 rollouts failed in a row; the last error: ConnectionError: 503"):
        await evaluate_async(config(policy, stop_after_failures=4, concurrency=1))
    run = tmp_path / "run"
    found = stored(run)
    assert {trajectory.error.kind for trajectory in found.values()} == {"ConnectionError"}
    assert {(one.node, one.worker) for one in found.values()} == {(os.uname().nodename, "this process")}
    assert [one.task_id for one in read_attempts(run)] == [task_id for task_id, _ in sorted(found)]
    assert {file.name for file in run.iterdir()} == {
        *("attempts.jsonl", "config.yaml", "identity.json", "lock", "log.txt", "report.html"),
        *("status.json", "summary.json", "tasks.jsonl", "trajectories"),
    }


async def test_a_setup_that_fails_once_is_tried_again_within_the_run(
    policy, config: Config, edit_environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edit_environment(
        "    def prompt(self, task):",
        "    async def setup(self, task):\n"
        "        if task['n'] == 2 and not hasattr(self, 'seen'):\n"
        "            self.seen = True\n"
        "            raise ConnectionError('503')\n\n"
        "    def prompt(self, task):",
    )
    impatient = functools.partial(drive, timings=DriverTimings(pauses=(0.0,)))
    monkeypatch.setattr("rollway.evaluation.run.drive", impatient)
    summary = await evaluate_async(config(policy, max_failed=0))
    assert (summary.asked, summary.scored) == (6, 6)
    [tried] = read_attempts(tmp_path / "run")
    assert (tried.task_id, tried.number, tried.kind, tried.again) == ("test-2", 1, "ConnectionError", True)
