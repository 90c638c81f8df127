"""Whole runs of the terminal environment: a scripted policy plays stored solutions through the tool."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, reply

from rollway.environments.loading import load_environment
from rollway.environments.terminal.environment import VERDICT, TerminalEnvironment
from rollway.environments.terminal.task_folders import SHIPPED
from rollway.errors import UserError
from rollway.evaluation import EvalConfig, RunSummary, evaluate_async, read_trajectories
from rollway.tools.sandboxes import SandboxSpec, check_backend, open_sandbox
from rollway.trajectory import StopReason, Trajectory

FEW = ["fix-json-config", "git-undo-commit", "largest-files"]
SOLUTIONS = {
    (folder / "instruction.md").read_text().strip(): (folder / "solution" / "solve.sh").read_text()
    for folder in SHIPPED.iterdir()
}

Play = Callable[[str], str | None]


@pytest.fixture(scope="module")
def backend() -> str:
    """The one that runs are meant for, where it can be had."""
    try:
        check_backend(SandboxSpec(backend="bubblewrap"))
    except UserError:
        return "local"
    return "bubblewrap"


def playing(command_for: Play) -> Callable[[ScriptedRequest], dict[str, Any]]:
    """A policy that runs one command for a task, and then says that it is done."""

    def answer(request: ScriptedRequest) -> dict[str, Any]:
        messages = request.body["messages"]
        command = command_for(messages[1]["content"]) if len(messages) == 2 else None
        return reply(tool_calls=[("terminal", {"command": command})]) if command else reply("Done.")

    return answer


async def run(
    command_for: Play, out: Path, backend: str, *, path: Path | None = None, **options: Any
) -> tuple[RunSummary, dict[str, Trajectory]]:
    async with ScriptedServer(playing(command_for)) as server:
        arguments: dict[str, Any] = {"backend": backend}
        if path is not None:
            arguments["path"] = str(path)
        config = EvalConfig(
            environment="terminal",
            environment_args=arguments,
            model={"base_url": server.url},
            workers=0,
            concurrency=4,
            out=str(out),
            **options,
        )
        summary = await evaluate_async(config)
    return summary, {found.task_id: found for found in read_trajectories(out)}


async def test_the_reference_policy_solves_every_task(tmp_path, backend):
    summary, found = await run(SOLUTIONS.__getitem__, tmp_path / "run", backend)
    assert {task_id: t.metadata.get(VERDICT) for task_id, t in found.items() if t.reward != 1.0} == {}
    assert (summary.asked, summary.scored, summary.failed) == (len(SOLUTIONS), len(SOLUTIONS), 0)
    assert {t.stop_reason for t in found.values()} == {StopReason.COMPLETED}
    assert {(t.rewards["partial"], t.rewards["commands"]) for t in found.values()} == {(1.0, 1.0)}


async def test_a_policy_that_does_nothing_solves_nothing(tmp_path, backend):
    summary, found = await run(lambda instruction: None, tmp_path / "run", backend, tasks=12)
    assert (summary.scored, summary.failed) == (12, 0)
    assert {t.reward for t in found.values()} == {0.0}
    assert {t.rewards["commands"] for t in found.values()} == {0.0}


async def test_a_policy_that_writes_its_own_reward_solves_nothing(tmp_path, backend):
    cheat = (
        "mkdir -p logs/verifier tests; echo 1 | tee reward.txt logs/verifier/reward.txt;"
        " printf 'exit 0\\n' | tee tests/test.sh tests/check.py .bashrc; trap 'exit 0' EXIT"
    )
    _, found = await run(lambda instruction: cheat, tmp_path / "run", backend, task_ids=FEW)
    assert {t.reward for t in found.values()} == {0.0}


async def test_a_part_of_the_work_shows_in_the_partial_reward_alone(tmp_path, backend):
    def half(instruction: str) -> str:
        return "find data -type f -printf '%s %p\\n' | sort -rn | head -5 > largest.txt"

    _, found = await run(half, tmp_path / "run", backend, task_ids=["largest-files"])
    (trajectory,) = found.values()
    assert trajectory.rewards == {"solved": 0.0, "partial": 0.5, "commands": 1.0}
    assert trajectory.metadata[VERDICT]["passed"] == ["list"]
    assert "expected ['total 697274']" in trajectory.metadata[VERDICT]["failed"]["total"]


async def test_a_users_folder_with_a_script_as_its_check_is_run(tmp_path, backend):
    task = tmp_path / "tasks" / "greet"
    for name, text in {
        "task.toml": "[verifier]\ntimeout_sec = 20\n",
        "instruction.md": "Write `hello` to greeting.txt.",
        "environment/setup.sh": "echo start > start.txt\n",
        "tests/test.sh": 'mkdir -p "${LOGS_DIR:-/logs}/verifier"\n'
        '[ "$(cat start.txt greeting.txt)" = "$(cat "${TESTS_DIR:-/tests}/expected")" ] && '
        'echo 1 > "${LOGS_DIR:-/logs}/verifier/reward.txt"\n',
        "tests/expected": "start\nhello\n",
    }.items():
        (task / name).parent.mkdir(parents=True, exist_ok=True)
        (task / name).write_text(text)
    shutil.copytree(task, task.parent / "wave")

    def command(instruction: str) -> str:
        return "[ -e ../tests ] || echo hello > greeting.txt"

    _, found = await run(command, tmp_path / "run", backend, path=task.parent)
    assert {task_id: t.reward for task_id, t in found.items()} == {"greet": 1.0, "wave": 1.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def check(): pass\n", "has no check; write an async function"),
        ("import nothing_such\n", "does not load: Module"),
    ],
)
def test_a_check_that_cannot_judge_is_refused_before_the_first_rollout(tmp_path, text, told):
    for name, content in {"task.toml": "", "instruction.md": "Do it.", "tests/check.py": text}.items():
        (tmp_path / "greet" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "greet" / name).write_text(content)
    with pytest.raises(UserError, match=told):
        TerminalEnvironment(path=str(tmp_path), backend="local", trust_checks=True).tasks("test")


async def test_a_task_for_a_container_is_not_run_without_one(tmp_path):
    task = tmp_path / "boxed"
    task.mkdir()
    (task / "task.toml").write_text('[environment]\ndocker_image = "somebody/boxed:1"\n')
    (task / "instruction.md").write_text("Do it.")
    (task / "tests").mkdir()
    (task / "tests" / "test.sh").write_text("exit 0\n")
    environment = TerminalEnvironment(path=str(tmp_path))
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    try:
        with pytest.raises(UserError, match=r"boxed needs a container of somebody/boxed:1: set sandbox"):
            await environment.prepare_sandbox({"task_id": "boxed"}, sandbox)
    finally:
        await sandbox.close()


@pytest.mark.parametrize("arguments", [{"images": {"git-undo": "x"}}, {"keep_processes": ["git-undo"]}])
def test_what_is_said_of_a_task_that_does_not_exist_is_refused(arguments):
    with pytest.raises(UserError, match=r"no task 'git-undo' .*in "):
        TerminalEnvironment(backend="local", **arguments).tasks("test")


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("trust_checks", "no", "must be true or false, not 'no'"),
        ("skip_unsupported", 1, "must be true or false, not 1"),
        ("path", 3, "must be the path of a folder, not 3"),
        ("backend", "vm", "must be one of local, bubblewrap, docker, podman, not 'vm'"),
        ("images", "hello", "must be a mapping from task ids to names of images, not 'hello'"),
        ("keep_processes", "hello", "must be a list of task ids, not 'hello'"),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused_and_never_taken_for_another(argument, value, told):
    with pytest.raises(UserError, match=rf"^terminal: environment_args.{argument} {told}"):
        TerminalEnvironment(**{argument: value})


def test_the_environment_goes_by_name_and_its_faults_are_one_line(tmp_path):
    assert isinstance(load_environment("terminal", {"backend": "docker"}), TerminalEnvironment)
    with pytest.raises(ValueError, match=r"no split 'train'; it has 'test'"):
        load_environment("terminal", {"backend": "docker"}).tasks("train")
    with pytest.raises(UserError, match="no folder"):
        load_environment("terminal", {"path": str(tmp_path / "none")}).tasks("test")
