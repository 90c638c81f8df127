"""Ctrl-C, and code of a user's that hangs, as whoever types the commands sees them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollway.cli import main
from rollway.scoring.stored import StoredRun

ENVIRONMENT = """
import os, threading, time
from pathlib import Path
from rollway import Environment

hung = threading.Event()


def reached(name):
    Path(name).touch()


def judge(trajectory, task):
    if os.environ.get("HANG") == "reward" and task["task_id"] == "2":
        reached("reached")
        hung.wait(600)
    return 1.0


def slow(trajectory, task):
    if int(task["task_id"]) % 2:
        return 1.0
    reached("reached")
    time.sleep(600)


class Hanging(Environment):
    rewards = [judge]

    def tasks(self, split):
        if os.environ.get("HANG") == "tasks":
            reached("reached")
            time.sleep(600)
        return [{"task_id": str(n)} for n in range(6)]

    def prompt(self, task):
        return [{"role": "user", "content": "Say hello."}]

    async def setup(self, task):
        if os.environ.get("HANG") == "loop" and task["task_id"] == "2":
            reached("reached")
            time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hanging.py").write_text(ENVIRONMENT)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command, and returns when its code has reached the point where it hangs."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "rollway.cli", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **variables},
        )
        running.append(process)
        while not (folder / "reached").exists():
            with pytest.raises(subprocess.TimeoutExpired):  # it must not have ended
                process.wait(0.02)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def asked(server_url: str, *more: str) -> list[str]:
    return ["eval", "hanging.py", "--base-url", server_url, "--workers", "0", "--out", "run", *more]


def records(folder: Path) -> dict[str, Any]:
    lines = StoredRun(folder / "run").lines()
    return {line.task_id: json.loads(line.line) for line in lines}


def test_a_hung_reward_costs_its_own_rollout_and_the_run_ends(folder, server_url, monkeypatch) -> None:
    monkeypatch.setenv("HANG", "reward")
    assert main(asked(server_url, "--set", "limits.hook_timeout=0.3")) == 1
    stored = records(folder)
    assert sorted(stored) == [str(n) for n in range(6)]
    assert stored["2"]["error"]["where"] == "reward:judge"
    assert [stored[str(n)]["reward"] for n in (0, 1, 3, 4, 5)] == [1.0] * 5
    log = (folder / "run" / "log.txt").read_text()
    assert "reward:judge did not return within 0.3 s, in rollout 2/0" in log
    assert "hung.wait(600)" in log


def test_one_ctrl_c_is_enough_where_a_reward_hangs(folder, start, server_url) -> None:
    process = start(*asked(server_url), HANG="reward")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out
    assert "resume with" in out
    assert "2" not in records(folder)


def test_the_second_ctrl_c_ends_a_run_whose_event_loop_hangs(start, server_url) -> None:
    process = start(*asked(server_url), HANG="loop")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_while_the_tasks_load_is_one_line(folder, start, server_url, number) -> None:
    process = start(*asked(server_url), HANG="tasks")
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "rollway: interrupted\n")


def test_ctrl_c_while_scoring_keeps_what_is_scored(folder, start, server_url) -> None:
    assert main(asked(server_url)) == 0
    process = start("score", "run", "--reward", "hanging.py:slow")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out
    assert "run/scores/slow.partial.jsonl" in out
    rows = [json.loads(row) for row in (folder / "run/scores/slow.partial.jsonl").read_text().splitlines()]
    assert all(row["reward"] == 1.0 and int(row["task_id"]) % 2 for row in rows)
