"""A launched server is ready when the block begins, and gone when it ends or its parent dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from rollway.cli import main
from rollway.errors import UserError
from rollway.inference.launch import LaunchFailed, launch_embedded, launch_embedded_sync

PARENT = """
import sys, time
from rollway.inference.launch import launch_embedded_sync
with launch_embedded_sync(sys.argv[1]) as base_url:
    print(base_url, flush=True)
    time.sleep(600)
"""


def answers(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(base_url + "/health", timeout=30) as reply:
            return bool(reply.status == 200)
    except OSError:  # nobody listens, or the listener went away meanwhile
        return False


def wait_until_gone(base_url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while answers(base_url):
        assert time.monotonic() < deadline, f"{base_url} still answers after {seconds} s"
        time.sleep(0.02)


async def test_it_answers_inside_the_block_and_not_after_it(policy_folder: Path) -> None:
    async with launch_embedded(str(policy_folder)) as base_url:
        assert base_url.startswith("http://127.0.0.1:")
        assert await asyncio.to_thread(answers, base_url)
    assert not answers(base_url)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_its_parent_does_however_that_happens(policy_folder: Path, kill: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(policy_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        base_url = parent.stdout.readline().strip()
        assert answers(base_url)
        parent.send_signal(kill)
        parent.wait(60)
    wait_until_gone(base_url, 60)


def test_a_wrong_policy_is_a_users_mistake_told_in_one_line() -> None:
    with pytest.raises(UserError, match=r"unknown policy 'calculater' \(did you mean 'calculator'\?\)"):
        with launch_embedded_sync("calculater"):
            pass


def test_a_server_that_breaks_shows_the_end_of_its_log(
    policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(LaunchFailed, match=r"exited with code 1; the end of its log:\n(.|\n)*encodings"):
        with launch_embedded_sync(str(policy_folder)):
            pass


def test_a_server_that_does_not_answer_in_time_is_given_up(policy_folder: Path) -> None:
    with pytest.raises(LaunchFailed, match="did not start in time"):
        with launch_embedded_sync(str(policy_folder), startup_timeout=0.0):
            pass


def test_a_port_that_is_taken_is_told_in_one_line(
    policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(policy_folder), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --port" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "unknown policy 'nowhere'"),
        (["{tmp}"], "has no config.json, so it is not a model folder"),
        (["{policy}", "--max-model-len", "5000"], "max_model_len must be between 2 and the model's 1024"),
        (["{policy}", "--tool-parser", "hermess"], "did you mean 'hermes'"),
        (["{policy}", "--reasoning-parser", "qwen33"], "did you mean 'qwen3'"),
        (["{policy}", "--port", "http"], "Invalid value for '--port'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(
    policy_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    filled = [word.format(tmp=tmp_path, policy=policy_folder) for word in arguments]
    assert main(["serve", *filled]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_it_says_that_it_is_ready_and_ends_at_once_when_asked(policy_folder: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "rollway.cli", "serve", str(policy_folder), "--port", "0"]
    with subprocess.Popen(
        [*command, "--name", "mine", "--ready-file", str(ready)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline().strip()
        base_url = ready.read_text().strip()
        assert line == f"serving mine at {base_url}"
        assert answers(base_url)
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(30) == 0  # not after the minute that idle connections would be waited for
