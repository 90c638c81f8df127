"""``rollway status``: how far a run is, told from its folder alone."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from stored_runs import CONFIG, line

from rollway.cli import main
from rollway.evaluation.look import look_at, print_look
from rollway.evaluation.overview import RolloutStatus, WorkerStatus
from rollway.evaluation.run_directory import open_run
from rollway.evaluation.status import Status
from rollway.inference.server_report import ServerReport

NODE = os.uname().nodename
NOW = 2_000_000_000.0


def status(**changes: Any) -> Status:
    now = NOW
    told = Status(
        state="running",
        started=now - 100,
        updated=now,
        pid=os.getpid(),
        node=NODE,
        asked=800,
        done=450,
        before=100,
        scored=340,
        failed=10,
        failures={"model_error: ServerUnreachable": 10},
        mean_reward=0.25,
        in_flight=64,
        rollouts_per_second=3.25,
        tokens_per_second=1068.4,
        seconds_left=107.0,
        workers_asked=8,
        workers=[WorkerStatus(name="process 7 on node-a", node="node-a", heard=now - 3, in_flight=32)],
        servers=[ServerReport(address="http://a:1", state="away", since=now - 31, waiting=128)],
        oldest=[RolloutStatus(task_id="17", sample_index=0, age=400, phase="tools", phase_seconds=300)],
    )
    return msgspec.structs.replace(told, **changes)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with one rollout scored and one failed, which nobody has open."""
    path = tmp_path / "run"
    with open_run(path, CONFIG):
        pass
    lines = [line(("a", 0)), line(("a", 1), reward=None, stop="model_error"), b'{"task_id": "b", "sam']
    (path / "trajectories" / "part-00000.jsonl").write_bytes(b"\n".join(lines))
    return path


@pytest.fixture
def write(run: Path) -> Callable[..., None]:
    def write(**changes: Any) -> None:
        (run / "status.json").write_bytes(msgspec.json.encode(status(**changes)))

    return write


@contextmanager
def held_open(run: Path, by: str) -> Iterator[None]:
    with (run / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(by)
        file.flush()
        yield


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def told(run: Path, *, well: bool) -> str:
    """What is printed of it at the moment `NOW`."""
    look, out = look_at(run, now=NOW), io.StringIO()
    print_look(look, Console(file=out, width=80))
    assert look.well is well
    return " ".join(out.getvalue().split())


def test_a_run_at_work(run: Path, write) -> None:
    write()
    words = told(run, well=True)
    for part in (
        f"running for 1:40: process {os.getpid()} on {NODE}, last written 0 s ago",
        "450 of 800 done, 64 in flight",
        "340 scored, 10 failed since this start",
        "10 failed: model_error: ServerUnreachable",
        "3.25 rollouts/s, 1,068 tokens/s, 1:47 left",
        "8 workers asked, 1 run",
        "process 7 on node-a: 32 in flight, heard 3 s ago",
        "server http://a:1 away for 31 s, 128 calls wait",
        "task '17' sample 0, 300 s in tools",
    ):
        assert part in words


def test_a_run_whose_process_was_killed(run: Path, write) -> None:
    pid = dead_process()
    write(pid=pid, updated=NOW - 240)
    words = told(run, well=False)
    assert (
        f"last written 4 min ago: process {pid} on {NODE} is gone; resume with: rollway eval --resume"
        in words
    )
    write(pid=pid)
    assert "is gone" in told(run, well=False), "also at once"


def test_a_run_that_is_open_and_not_heard_of(run: Path, write) -> None:
    write(pid=7, node="far-away", updated=NOW - 240)
    with held_open(run, "7 on far-away"):
        words = told(run, well=False)
    assert "last written 4 min ago: process 7 on far-away is not heard of, though it may" in words
    assert "process 7 on far-away is gone" in told(run, well=False)


def test_a_run_that_has_just_been_started_again(run: Path, write) -> None:
    write(state="interrupted", pid=dead_process())
    with held_open(run, f"{os.getpid()} on {NODE}"):
        assert f"process {os.getpid()} on {NODE} has begun, and has not written" in told(run, well=True)


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("interrupted", 1), ("failed", 1)])
def test_a_run_that_has_ended(
    state: Any, code: int, run: Path, write, capsys: pytest.CaptureFixture[str]
) -> None:
    write(state=state, reason="the reason", workers=[], servers=[], oldest=[], updated=NOW - 7260)
    assert f"{state} 2 h ago: the reason" in told(run, well=code == 0)


def test_a_run_of_an_older_version_is_counted(run: Path) -> None:
    words = told(run, well=False)
    assert "not running, and not finished; resume with: rollway eval --resume" in words
    assert "1 scored, 1 failed on disk" in words
    with held_open(run, "7 on here"):
        assert "running: process 7 on here, without a status.json" in told(run, well=True)


def test_a_finished_run_shows_its_summary(
    environment_file: str, server_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["eval", environment_file, "--base-url", server_url, "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["status", "run"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert re.search(r"state finished \d+ s ago rollouts", words)
    assert "3 requested: 3 tasks x 1 sample 3 scored" in words
    (tmp_path / "run" / "status.json").unlink()
    assert main(["status", "run"]) == 0
    assert "state finished rollouts 3 requested" in " ".join(capsys.readouterr().out.split())


def test_the_same_as_json(run: Path, write, capsys: pytest.CaptureFixture[str]) -> None:
    write(state="finished")
    assert main(["status", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["well"], found["status"]["done"]) == ("finished", True, 450)
    (run / "status.json").unlink()
    assert main(["status", str(run), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["records"]) == ("unfinished", {"scored": 1, "unscored": 0, "failed": 1})


def test_looking_changes_nothing(run: Path, write) -> None:
    write(pid=dead_process())
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()}
    told(run, well=False)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()}
    assert after == before


def test_no_run_is_one_line(complaint: Callable[..., str], tmp_path: Path) -> None:
    assert "is not a run directory: it has no config.yaml" in complaint("status", str(tmp_path))
    assert "nowhere is not a run directory" in complaint("status", "nowhere")
