"""The first and the last line of each sitting in a run's log."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer

from rollway.errors import UserError
from rollway.evaluation import RunFailed, RunInterrupted, evaluate_async
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.start_and_end import changed_settings, start_and_end_logged

Config = Callable[..., Any]


def log_of(run: Path) -> list[str]:
    return (run / "log.txt").read_text().splitlines()


async def test_the_log_says_what_was_asked_and_what_came_of_it(
    policy, config: Config, tmp_path: Path
) -> None:
    await evaluate_async(config(policy, samples=2))
    first, *_, last = log_of(tmp_path / "run")
    assert re.search(rf": started: rollway \S+, Python \S+, process {os.getpid()} on \S+, command: ", first)
    assert "samples=2" in first
    assert f"model.base_url={policy.url}" in first
    assert re.search(r"INFO .*: ended after \d+ s: 12 scored, 0 failed, exit 0$", last)


async def test_the_log_says_that_a_run_failed_and_why(
    policy, config: Config, edit_environment, tmp_path: Path
) -> None:
    edit_environment("    return str(task", "    return 1 / 0 or str(task")
    with pytest.raises(RunFailed):
        await evaluate_async(config(policy))
    last = log_of(tmp_path / "run")[-1]
    assert "0 scored, 6 failed, exit 1: no rollout was scored: reward_error: right: ZeroDivision" in last


async def test_the_log_says_that_a_run_was_interrupted(config: Config, gated, tmp_path: Path) -> None:
    async with ScriptedServer(gated()) as server:
        running = asyncio.create_task(evaluate_async(config(server, concurrency=2)))
        await server.until(lambda s: s.running == 2)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(RunInterrupted):
            await running
    last = log_of(tmp_path / "run")[-1]
    assert "0 scored, 0 failed, 6 missing, exit 130: interrupted; 0 of 6 rollouts are on disk" in last


async def test_a_second_ctrl_c_is_the_last_line(config: Config, gated, environment_file, tmp_path) -> None:
    environment_file.write_text(
        environment_file.read_text().replace(
            "    def prompt(self, task):",
            "    async def teardown(self, task, workspace, trajectory):\n"
            "        import asyncio\n\n"
            "        await asyncio.Event().wait()\n\n"
            "    def prompt(self, task):",
        )
    )
    async with ScriptedServer(gated()) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rollway.cli", "eval", str(environment_file), "--base-url", server.url),
            *("--out", str(tmp_path / "run"), "--concurrency", "2"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await server.until(lambda s: s.running == 2, timeout=60)
        process.send_signal(signal.SIGINT)
        await server.until(lambda s: s.running == 0, timeout=60)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 60) == 130
    assert log_of(tmp_path / "run")[-1].endswith(
        "ended: a second interrupt, exit 130 at once; what had ended is on disk"
    )


def test_other_ends_have_the_commands_exit_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = EvalConfig(environment="calculator")
    for error, told in [
        (UserError("no such\nserver"), "exit 2: no such server"),
        (KeyboardInterrupt(), "exit 130: KeyboardInterrupt"),
        (ZeroDivisionError("by zero"), "exit 1: by zero"),
    ]:
        with pytest.raises(type(error)), start_and_end_logged(config, tmp_path):
            raise error
        assert told in caplog.messages[-1]


def test_settings_are_told_where_they_are_not_as_by_default() -> None:
    config = EvalConfig(environment="calculator", samples=4, environment_args={"a": 1})
    told = changed_settings(config)
    assert told == ["environment=calculator", "environment_args={'a': 1}", "samples=4"]
