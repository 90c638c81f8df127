"""The shipped tasks: each check fails before the reference solution and passes after it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from terminal_rollouts import prepared, solution_of

from rollway.environments.terminal.clean_shell import run_clean
from rollway.environments.terminal.environment import TerminalEnvironment
from rollway.environments.terminal.judging import check
from rollway.environments.terminal.task_folders import SHIPPED
from rollway.tools.sandboxes import SandboxSpec, open_sandbox

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = TerminalEnvironment(backend="local")
TASKS = sorted(folder.name for folder in SHIPPED.iterdir())
SET_UP_ALL = """
set -e
for task in tasks/*; do
    setup=$PWD/$task/environment/setup.sh
    mkdir -p "$1/$task"
    (cd "$1/$task"; bash -e "$setup")
done
"""
STATE = r"""
cd "$1"
find . -name .git -prune -o -printf '%y %m %s %p %l\n' | sort
find . -name .git -prune -o -type f -print0 | sort -z | xargs -0r sha256sum
for repo in tasks/*/repo; do git -c safe.directory='*' -C "$repo" show-ref --head; done
"""


def test_there_are_enough_tasks_of_many_kinds():
    tasks = ENVIRONMENT.tasks("test")
    assert [task["task_id"] for task in tasks] == TASKS
    assert len(tasks) >= 36
    assert len({task["category"] for task in tasks}) >= 8
    assert {task["difficulty"] for task in tasks} == {"easy", "medium", "hard"}


def answers_of(task_id: str) -> list[str]:
    """The text files that a task's check reads by name."""
    check_file = (SHIPPED / task_id / "tests" / "check.py").read_text()
    return sorted(set(re.findall(r'box\.(?:text|lines)\("([^"/]+)"\)', check_file)))


@pytest.mark.parametrize("task_id", TASKS)
async def test_the_check_fails_before_the_solution_passes_after_it_and_fails_for_a_part_of_it(task_id):
    folder = ENVIRONMENT.folder({"task_id": task_id})
    async with prepared(ENVIRONMENT, task_id) as sandbox:
        before = await check(folder, sandbox)
        assert not before.solved
        assert before.share < 1
        done = await sandbox.exec(solution_of(ENVIRONMENT, task_id), timeout=60.0)
        after = await check(folder, sandbox)
        assert (after.solved, after.failed) == (True, {}), done.stderr.decode()
        for path in answers_of(task_id):
            await sandbox.exec(["sed", "-i", "$d", path])
            assert not (await check(folder, sandbox)).solved, f"without the last line of {path}"


async def test_a_setup_makes_the_same_files_every_time():
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    try:
        await sandbox.upload(SHIPPED, "tasks")
        for run in ("first", "second"):
            made = await run_clean(sandbox, SET_UP_ALL, run)
            assert made.exit_code == 0, made.stderr.decode()
        states = [(await run_clean(sandbox, STATE, run)).stdout for run in ("first", "second")]
        assert states[0] == states[1]
        assert len(states[0].splitlines()) > 4 * len(TASKS)
    finally:
        await sandbox.close()


async def test_nothing_of_setup_or_check_is_in_the_sandbox_during_the_rollout():
    async with prepared(ENVIRONMENT, "count-status-codes") as sandbox:
        listing = (await sandbox.exec("ls -A")).stdout
        assert listing == b"access.log\n"


@pytest.mark.parametrize("task_id", TASKS)
def test_an_instruction_names_every_file_that_its_check_reads(task_id):
    instruction = ENVIRONMENT.folder({"task_id": task_id}).instruction
    for path in answers_of(task_id):
        assert path in instruction


def test_every_file_of_a_task_goes_into_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["rollway"]
    packed = {path for pattern in patterns for path in (ROOT / "rollway").glob(pattern) if path.is_file()}
    files = {path for path in SHIPPED.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert files <= packed


def test_the_pages_tell_how_many_tasks_there_are():
    for page in ("terminal.md", "environments.md"):
        assert f"{len(TASKS)} shell tasks" in (ROOT / "docs" / page).read_text()
