"""Real worker processes that stand still, hang or are broken are found and replaced, and cost no rollout."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_processes import PATIENCE, gone, worker_processes
from scripted_server import ScriptedServer

from rollway.evaluation import evaluate_async
from rollway.evaluation.driver_timings import DriverTimings
from rollway.evaluation.run_directory import read_attempts
from rollway.evaluation.sitting import drive

pytestmark = pytest.mark.timeout(1200)

QUICK = DriverTimings(heartbeat=0.1, silent=4.0, ramp=0.2, pauses=(0.0,))

BLOCKS_ONCE = """    async def setup(self, task):
        import pathlib, time

        mark = pathlib.Path({mark!r})
        if task["n"] == 3 and not mark.exists():
            mark.touch()
            time.sleep(600)

    def prompt(self, task):"""

BROKEN_IN_ONE_PROCESS = """    async def setup(self, task):
        import os, pathlib

        mark = pathlib.Path({mark!r})
        try:
            os.link(__file__, mark)  # whoever comes first is the broken machine
            mark.with_suffix(".pid").write_text(str(os.getppid()))
            self.is_broken = True
        except FileExistsError:
            pass
        if getattr(self, "is_broken", False):
            raise OSError(28, "No space left on device")

    def prompt(self, task):"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollway.evaluation.run.drive", functools.partial(drive, timings=QUICK))


async def test_a_stopped_worker_is_replaced_through_ray(
    ray_cluster: Any, config: Callable[..., Any], gated: Any, stored: Any, tmp_path: Path
) -> None:
    gate, run = gated(free=20), tmp_path / "run"
    async with ScriptedServer(gate) as server:
        settings = config(
            server, workers=2, concurrency=4, environment_args={"size": 30}, ray={"cpus_per_worker": 1}
        )
        running = asyncio.create_task(evaluate_async(settings))
        await server.until(lambda s: s.running == 8, timeout=PATIENCE)
        stopped = worker_processes(run)[0]
        os.kill(stopped, signal.SIGSTOP)
        assert await gone(stopped)
        while len(worker_processes(run)) < 3:
            await asyncio.sleep(0.05)
        gate.gate.set()
        summary = await asyncio.wait_for(running, PATIENCE)
    assert (summary.asked, summary.scored) == (30, 30)
    lost = [tried for tried in read_attempts(run) if tried.kind == "WorkerHung"]
    assert 0 < len(lost) <= 4
    assert {tried.worker for tried in lost} == {f"process {stopped} on {os.uname().nodename}"}


async def test_a_worker_whose_loop_is_blocked_is_replaced_and_the_code_is_named_through_ray(
    ray_cluster: Any, config: Callable[..., Any], policy: Any, edit_environment: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    edit_environment("    def prompt(self, task):", BLOCKS_ONCE.format(mark=str(tmp_path / "mark")))
    summary = await asyncio.wait_for(evaluate_async(config(policy, workers=1, concurrency=4)), PATIENCE)
    assert (summary.asked, summary.scored) == (6, 6)
    log = (run / "log.txt").read_text()
    assert "held up by rollout test-3/0 (setup for " in log
    assert "time.sleep(600)" in log
    assert {tried.kind for tried in read_attempts(run)} == {"WorkerHung"}


async def test_one_broken_worker_of_two_costs_few_tries_through_ray(
    ray_cluster: Any, config: Callable[..., Any], policy: Any, edit_environment: Any, tmp_path: Path
) -> None:
    edit_environment("    def prompt(self, task):", BROKEN_IN_ONE_PROCESS.format(mark=str(tmp_path / "mark")))
    settings = config(policy, workers=2, concurrency=32, environment_args={"size": 200})
    summary = await asyncio.wait_for(evaluate_async(settings), PATIENCE)
    assert (summary.asked, summary.scored) == (200, 200)
    assert 0 < len(list(read_attempts(tmp_path / "run"))) <= 8
