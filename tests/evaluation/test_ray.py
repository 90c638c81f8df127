"""Real Ray processes, really killed: no rollout is lost, none is doubled, and nothing is left running."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from ray_processes import PATIENCE, gone, worker_processes
from scripted_server import ScriptedServer

from rollway.evaluation import evaluate_async
from rollway.trajectory import StopReason

pytestmark = pytest.mark.timeout(1200)  # Ray takes seconds to start, and many more on a busy machine

SIZE = 40
ASKED = {(f"test-{n}", sample) for n in range(SIZE) for sample in (0, 1)}


@pytest.fixture
async def driver(environment_file: Path, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts ``rollway eval`` on 40 tasks x 2 samples as a process of its own session."""
    started: list[Process] = []

    async def start(server: ScriptedServer) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rollway.cli", "eval", str(environment_file)),
            *("--base-url", server.url, "--out", str(tmp_path / "run"), "--samples", "2"),
            *("--workers", "2", "--concurrency", "8", "--set", f"environment_args={{size: {SIZE}}}"),
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def on_record(run: Path) -> None:
    """Wait until a rollout is on the disk: the driver gets to it after the workers have ended it."""
    part = run / "trajectories" / "part-00000.jsonl"
    async with asyncio.timeout(PATIENCE):
        while not (part.exists() and b"\n" in part.read_bytes()):
            await asyncio.sleep(0.05)


async def test_a_killed_worker_costs_no_rollout_and_doubles_none(
    ray_cluster, config, gated, stored, tmp_path: Path
) -> None:
    gate = gated(free=30)
    async with ScriptedServer(gate) as server:
        settings = config(
            server,
            samples=2,
            workers=2,
            concurrency=8,
            environment_args={"size": SIZE},
            ray={"cpus_per_worker": 0},
        )
        running = asyncio.create_task(evaluate_async(settings))
        await server.until(lambda s: s.running == 16 and len(s.requests) == 46, timeout=PATIENCE)
        os.kill(worker_processes(tmp_path / "run")[0], signal.SIGKILL)
        # A new worker takes the dead one's place, and up the same number of rollouts.
        await server.until(lambda s: s.aborted == 8 and s.running == 16, timeout=PATIENCE)
        gate.gate.set()
        summary = await asyncio.wait_for(running, PATIENCE)
    found = stored(tmp_path / "run")
    assert set(found) == ASKED
    assert {t.stop_reason for t in found.values()} == {StopReason.COMPLETED}
    assert (summary.asked, summary.scored, summary.failed, summary.missing) == (80, 80, 0, 0)
    assert all([await gone(pid) for pid in worker_processes(tmp_path / "run")])


async def test_a_killed_driver_is_started_again_and_finishes_exactly_what_is_missing(
    driver, gated, stored, tmp_path: Path
) -> None:
    gate = gated(free=50)
    run = tmp_path / "run"
    async with ScriptedServer(gate) as server:
        first = await driver(server)
        await server.until(lambda s: s.running == 16 and len(s.requests) == 66, timeout=PATIENCE)
        await on_record(run)
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
        await server.until(lambda s: s.running == 0, timeout=PATIENCE)
        assert all([await gone(pid) for pid in worker_processes(run)])
        before = stored(run)
        assert 0 < len(before) < len(ASKED)
        with (run / "trajectories" / "part-00000.jsonl").open("ab") as part:
            part.write(b'{"schema_version":1,"id":"torn","messages":[{"ro')
        gate.gate.set()
        asked = len(server.requests)
        second = await driver(server)
        out, err = await asyncio.wait_for(second.communicate(), PATIENCE)
        assert second.returncode == 0, err.decode()
        assert len(server.requests) - asked == 2 * (len(ASKED) - len(before))
    after = stored(run)
    assert set(after) == ASKED
    assert all(after[key].id == trajectory.id for key, trajectory in before.items()), (
        "what was there was kept"
    )
    assert "80 scored" in out.decode()


async def test_ctrl_c_at_the_terminal_ends_everything_and_leaves_what_was_finished(
    driver, gated, stored, tmp_path: Path
) -> None:
    async with ScriptedServer(gated(free=50)) as server:
        process = await driver(server)
        await server.until(lambda s: s.running == 16 and len(s.requests) == 66, timeout=PATIENCE)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        await server.until(lambda s: s.running == 0, timeout=PATIENCE)
    assert process.returncode == 130
    assert re.fullmatch(
        r"rollway: interrupted; \d+ of 80 rollouts are on disk; resume with: .*\n", err.decode()
    )
    finished = stored(tmp_path / "run")
    assert len(finished) > 0
    assert {t.stop_reason for t in finished.values()} == {StopReason.COMPLETED}
    assert (tmp_path / "run" / "summary.json").exists()
    assert all([await gone(pid) for pid in worker_processes(tmp_path / "run")])


async def test_the_end_of_ray_is_an_orderly_end(driver, gated, stored, tmp_path: Path) -> None:
    async with ScriptedServer(gated(free=50)) as server:
        process = await driver(server)
        await server.until(lambda s: s.running == 16 and len(s.requests) == 66, timeout=PATIENCE)
        await on_record(tmp_path / "run")
        os.kill(child(process.pid, "raylet"), signal.SIGKILL)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        await server.until(lambda s: s.running == 0, timeout=PATIENCE)
    assert process.returncode == 1, err.decode()
    assert re.fullmatch(
        r"rollway: Ray is gone: nobody listens at \S+, where its node was; \d+ of 80 rollouts are on disk; "
        r"resume with: rollway eval --resume .*\n",
        err.decode(),
    )
    assert "(raylet)" not in out.decode(), "what Ray says at length is for the log"
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "Traceback" not in log
    assert "exit 1: Ray is gone" in log.splitlines()[-1]
    assert len(stored(tmp_path / "run")) > 0


def child(pid: int, name: str) -> int:
    """The child process of that name."""
    for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{found}/comm").read_text().strip() == name:
            return int(found)
    raise AssertionError(f"process {pid} has no child {name!r}")
