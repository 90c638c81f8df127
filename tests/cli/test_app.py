"""The list of commands: quick to show, and one line for what is not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from rollway.cli import main
from rollway.cli.app import COMMANDS
from rollway.evaluation.config import EvalConfig


def cpu_seconds(*words: str) -> float:
    process = subprocess.Popen([sys.executable, "-m", "rollway.cli", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_help_answers_at_once() -> None:
    assert min(cpu_seconds("--help") for _ in range(3)) < 0.5


def test_help_imports_no_command() -> None:
    code = """
import sys
from rollway.cli import main
main(["--help"])
heavy = {"ray", "pydantic", "aiohttp", "numpy", "rich", "wandb", "datasets", "rollway.evaluation.run"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_every_command_stands_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert name in out
        assert command.help in out


def test_no_command_is_a_question_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "rollway eval calculator" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["eval", "rollout"])
def test_help_of_a_command_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"  rollway {name} " in out
    assert "--set" in out


SHOWN_DEFAULTS: dict[str, Callable[[EvalConfig], object]] = {
    "--samples": lambda config: config.samples,
    "--seed": lambda config: config.seed,
    "--policy": lambda config: config.model.policy,
    "--max-turns": lambda config: config.limits.max_turns,
    "--tool-parser": lambda config: config.tool_parser,
    "--workers": lambda config: config.workers,
    "--concurrency": lambda config: config.concurrency,
    "limits.timeout": lambda config: config.limits.timeout,
    "limits.tool_timeout": lambda config: config.limits.tool_timeout,
    "limits.max_tool_calls": lambda config: config.limits.max_tool_calls,
    "model.timeouts.total": lambda config: config.model.timeouts.total,
    "model.retry.patience": lambda config: config.model.retry.patience,
    "model.retry.tries": lambda config: config.model.retry.tries,
    "stop_after_failures": lambda config: config.stop_after_failures,
}


@pytest.mark.parametrize("name", ["eval", "rollout"])
def test_the_defaults_in_the_help_are_the_configs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = EvalConfig(environment="calculator")
    assert main([name, "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    for option, default in SHOWN_DEFAULTS.items():
        shown = re.search(rf"{re.escape(option)}[ =][A-Z][^\[]*\[default: ([^\]]*)\]", words)
        assert shown, option
        value = default(config)
        text = "none" if value is None else value if isinstance(value, str) else f"{value:g}"
        assert shown[1] == text, option


@pytest.mark.parametrize("word", ["resume", "timeout", "limit", "retry", "log", "default"])
def test_help_has_the_words_that_people_search_for(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--help"]) == 0
    assert re.search(rf"\b{word}\b", capsys.readouterr().out, re.IGNORECASE)


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip().count(".") == 2


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["--wait-for-server"], 1800),
        (["--wait-for-server", "30"], 30),
        (["--wait-for-server=2.5"], 2.5),
        (["--wait-for-server", "--workers", "0"], 1800),
    ],
)
def test_how_long_to_wait_for_the_server_may_be_left_out(
    words: list[str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[EvalConfig] = []

    def remembered(config: EvalConfig, **_: object) -> None:
        configs.append(config)

    monkeypatch.setattr("rollway.evaluation.evaluate", remembered)
    assert main(["eval", *words, "calculator", "--base-url", "http://127.0.0.1:1"]) == 0
    assert configs[0].model.wait_for_server == seconds


def test_unknown_commands_and_options_are_one_line(complaint) -> None:
    assert complaint("evil") == "No such command 'evil'. Did you mean 'eval'?; see rollway --help"
    assert complaint("eval", "--bogus").endswith("see rollway eval --help")
    assert complaint("eval", "calculator", "--tasks", "x").startswith("Invalid value for '--tasks'")


@pytest.mark.parametrize("words", [["--help"], ["eval", "--help"], ["parse", "--list"], ["no-such-command"]])
def test_a_reader_that_has_left_is_no_traceback(words: list[str]) -> None:
    ours, its = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "rollway.cli", *words]
    done = subprocess.run(command, stdout=its, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(its)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (2 if "no-such-command" in words else 0)
