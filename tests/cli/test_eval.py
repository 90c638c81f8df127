"""``rollway eval``: a run by a user's own file, and one helpful line for every mistake."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollway.cli import main
from rollway.errors import UserError
from rollway.evaluation import read_trajectories
from rollway.evaluation.summary import read_summary


def run(*arguments: str) -> int:
    return main(["eval", *arguments, "--workers", "0"])


def test_a_users_own_file_is_evaluated(
    environment_file: str, server_url: str, capsys, tmp_path: Path
) -> None:
    assert run(environment_file, "--base-url", server_url, "--samples", "2", "--temperature", "0.5") == 0
    out = capsys.readouterr().out
    assert "6 requested" in out
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name.startswith("Greeting-")
    assert f"run: runs/{path.name}" in out
    config = yaml.safe_load((path / "config.yaml").read_text())
    assert config["sampling"]["temperature"] == 0.5
    assert config["model"]["name"] == "scripted"
    assert config["environment"] == str(tmp_path / "greeting.py")


def test_a_key_is_sent_and_never_stored(
    environment_file: str, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    assert run(environment_file, "--base-url", server_url, "--api-key-env", "MY_KEY", "--out", "run") == 0
    texts = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [text for text in texts if b"sk-very-secret" in text]


def test_a_run_is_resumed_by_its_directory_alone(
    environment_file: str, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert run(environment_file, "--base-url", server_url, "--out", "run") == 0
    part = tmp_path / "run" / "trajectories" / "part-00000.jsonl"
    part.write_bytes(part.read_bytes()[:-10])
    monkeypatch.chdir("/")
    capsys.readouterr()
    assert main(["eval", "--resume", str(tmp_path / "run")]) == 0
    assert "3 scored" in capsys.readouterr().out


def test_tasks_come_from_a_file_and_a_run_over_another_file_is_refused(
    environment_file: str, server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks.csv").write_text("question\nWho?\nWhy?\n")
    (tmp_path / "other.csv").write_text("question\nWho?\n")
    assert run(environment_file, "--base-url", server_url, "--out", "run", "--data", "tasks.csv") == 0
    assert f"2 rollouts of Greeting (test of {tmp_path / 'tasks.csv'})" in capsys.readouterr().out
    assert run(environment_file, "--base-url", server_url, "--out", "run", "--data", "tasks.csv") == 0
    assert run("run/config.yaml", "--out", "run", "--data", "other.csv") == 2
    assert "holds a run with a different configuration: data.source was" in capsys.readouterr().err
    assert len(list(read_trajectories("run"))) == 2


def test_data_that_is_not_there_is_one_line(environment_file: str, complaint: Callable[..., str]) -> None:
    told = complaint("eval", environment_file, "--data", "nothing.jsonl")
    assert told.startswith("data: there is no file or folder /")
    assert "source" in complaint("eval", environment_file, "--set", "data.name=main")


def test_a_recorded_run_is_replayed_with_its_own_config(
    environment_file: str, server_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(environment_file, "--base-url", server_url, "--out", "run", "--record-tools") == 0
    assert run("run/config.yaml", "--out", "again", "--replay-tools", "run") == 0
    capsys.readouterr()
    assert run("run/config.yaml", "--out", "both", "--replay-tools", "run", "--record-tools") == 2
    assert "record and replay exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("open_ends", [os.pipe, pty.openpty])
def test_a_reader_that_leaves_does_not_end_the_run(
    open_ends: Callable[[], tuple[int, int]], environment_file: str, server_url: str, tmp_path: Path
) -> None:
    ours, its = open_ends()
    command = [sys.executable, "-m", "rollway.cli", "eval", environment_file, "--base-url", server_url]
    process = subprocess.Popen(
        [*command, "--workers", "0", "--out", "run"], cwd=tmp_path, stdout=its, stderr=subprocess.PIPE
    )
    os.close(its)
    os.close(ours)
    _, told = process.communicate(timeout=100)
    assert (process.returncode, told) == (0, b"")
    assert read_summary(tmp_path / "run" / "summary.json").scored == 3


ODD = """
from rollway import Environment


def größe(trajectory, task):
    return 1.0


class Odd(Environment):
    name = "Gruß 🙂 \\ud800"
    rewards = [größe]

    def tasks(self, split):
        return [{"task_id": "ü"}]

    def prompt(self, task):
        return [{"role": "user", "content": "Grüße?"}]
"""


@pytest.mark.parametrize(
    "terminal",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "utf-8"},
    ],
)
def test_letters_that_the_terminal_cannot_say_do_not_end_a_run(
    terminal: dict[str, str], server_url: str, tmp_path: Path
) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    done = command("eval", "odd.py", "--base-url", server_url, cwd=tmp_path, env=os.environ | terminal)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"run\n")
    assert read_summary(tmp_path / "run" / "summary.json").scored == 1


def command(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    words = (*words, "--workers", "0", "--out", "run")
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 100} | options
    return subprocess.run([sys.executable, "-m", "rollway.cli", *words], **piped, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_the_output_does_not_end_a_run(
    environment_file: str, server_url: str, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        done = command("eval", environment_file, "--base-url", server_url, cwd=tmp_path, stdout=full)
    assert done.returncode == 0
    assert done.stderr == b"rollway: cannot write to standard output: No space left on device\n"
    assert read_summary(tmp_path / "run" / "summary.json").scored == 3


def test_a_run_without_an_output_goes_on(environment_file: str, server_url: str, tmp_path: Path) -> None:
    words = f"{sys.executable} -m rollway.cli eval {environment_file} --base-url {server_url}"
    shell = f"{words} --workers 0 --out run >&- 2>&-"
    assert subprocess.run(["bash", "-c", shell], cwd=tmp_path, timeout=100, check=False).returncode == 0
    assert read_summary(tmp_path / "run" / "summary.json").scored == 3


def test_the_embedded_policy_is_served_where_no_server_is_named(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("calculator", "--tasks", "4", "--samples", "2", "--temperature", "0", "--out", "run") == 0
    assert "8 requested: 4 tasks x 2 samples" in capsys.readouterr().out
    found = list(read_trajectories("run"))
    assert len(found) == 8
    for turn in (turn for trajectory in found for turn in trajectory.turns):
        assert turn.token_ids
        assert len(turn.token_ids) == len(turn.logprobs or [])
        assert turn.prompt_token_ids


def test_a_failed_run_is_exit_code_1(environment_file: str, server_url: str, capsys) -> None:
    text = Path(environment_file).read_text().replace('return "hello" in', 'return 1 / 0 and "hello" in')
    Path(environment_file).write_text(text)
    assert run(environment_file, "--base-url", server_url, "--out", "run") == 1
    err = capsys.readouterr().err
    assert err.startswith("rollway: no rollout was scored: reward_error: polite: ZeroDivisionError (3)")
    assert err.count("\n") == 1


def test_mistakes_in_what_to_run(complaint, environment_file: str, tmp_path: Path) -> None:
    assert "(did you mean 'calculator'?)" in complaint("eval", "calculater")
    assert "no environment or config given; try: rollway eval calculator" in complaint("eval")
    assert "nowhere.py; give an environment's file as" in complaint("eval", "nowhere.py")
    assert "no config file nowhere.yaml" in complaint("eval", "nowhere.yaml")
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert "empty.py has no Environment" in complaint("eval", "empty.py")
    (tmp_path / "broken.py").write_text("import nothing_like_it\n")
    assert "broken.py, line 1: the file cannot be imported: ModuleNotFoundError" in complaint(
        "eval", "broken.py"
    )
    assert "no split 'tset'" in complaint("eval", "calculator", "--split", "tset")


def test_mistakes_in_the_configuration(complaint, tmp_path: Path, environment_file: str) -> None:
    (tmp_path / "bad.yaml").write_text("environment: calculator\n  samples: 3\n")
    assert complaint("eval", "bad.yaml").startswith("bad.yaml, line 2, column 10: ")
    (tmp_path / "unknown.yaml").write_text("environment: calculator\nlimits:\n  max_turn: 3\n")
    assert "limits.max_turn: unknown field (did you mean 'max_turns'?)" in complaint("eval", "unknown.yaml")
    assert "(did you mean 'samples'?)" in complaint("eval", "calculator", "--set", "sample=3")
    lots = complaint("eval", "calculator", "--set", "samples=lots")
    assert lots == "the command line: samples: should be a whole number of at least 1, not 'lots'"
    none = complaint("eval", "calculator", "--max-turns", "0")
    assert none == "the command line: limits.max_turns: must be positive or null, got 0"
    assert "(did you mean 'hermes'?)" in complaint("eval", "calculator", "--tool-parser", "hermse")
    assert "variable NO_SUCH_KEY is not set" in complaint(
        "eval", "calculator", "--api-key-env", "NO_SUCH_KEY"
    )


def test_mistakes_about_the_server(complaint, environment_file: str, server_url: str) -> None:
    nobody = complaint("eval", environment_file, "--base-url", "http://127.0.0.1:9")
    assert nobody.startswith("no server at http://127.0.0.1:9")
    assert "rollway serve" in nobody
    wrong = complaint("eval", environment_file, "--base-url", server_url, "--model", "scriptde")
    assert "scriptde" in wrong
    assert "scripted" in wrong
    assert "unknown policy 'calculater'" in complaint("eval", "calculator", "--policy", "calculater")
    assert "must be an address such as" in complaint("eval", environment_file, "--base-url", "localhost:80")


def test_a_finished_run_is_asked_for_more_and_says_what_was_mixed_in(
    complaint, environment_file: str, server_url: str, capsys
) -> None:
    assert run(environment_file, "--base-url", server_url, "--out", "run") == 0
    Path(environment_file).write_text(Path(environment_file).read_text() + "\n# another\n")
    capsys.readouterr()
    told = complaint("eval", "--resume", "run", "--samples", "2")
    assert "the environment's source is not what it was" in told
    assert run("--resume", "run", "--samples", "2", "--allow-changed-environment") == 0
    shown = capsys.readouterr().out
    assert "6 scored" in shown
    assert "mixed     rollouts of an environment that changed" in shown


def test_mistakes_about_the_run_directory(
    complaint, environment_file: str, server_url: str, tmp_path: Path, capsys
) -> None:
    assert run(environment_file, "--base-url", server_url, "--out", "run") == 0
    capsys.readouterr()
    other = complaint("eval", environment_file, "--base-url", server_url, "--out", "run", "--seed", "3")
    assert "run with a different configuration: seed was 0 and is now 3" in other
    assert "not empty and not a run directory" in complaint("eval", environment_file, "--out", ".")
    assert "not a run directory" in complaint("eval", "--resume", "nowhere")
    assert "--resume DIR takes no environment and no --out" in complaint(
        "eval", environment_file, "--resume", "run"
    )


def test_what_takes_seconds_is_told_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rollway eval calculator` with nothing else: the first line does not wait for the server."""
    told_first: list[str] = []

    def launch(policy: str, **options: object) -> AbstractAsyncContextManager[str]:
        told_first.append(capsys.readouterr().out)
        raise UserError("the server would start now")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rollway.evaluation.model_server.launch_embedded", launch)
    assert main(["eval", "calculator"]) == 2
    (told,) = told_first
    assert told.endswith("starting the embedded policy 'calculator'\n"), "a busy machine says more before it"
