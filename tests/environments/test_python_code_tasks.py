"""The programming tasks that ship: each can be solved, and only by solving it."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from python_code_examples import as_tests, example_only, examples

from rollway.environments.python_code.cases import Suite, parse_tests
from rollway.environments.python_code.checking import check_cases
from rollway.environments.python_code.task_files import SHIPPED, list_splits, read_task, read_tasks
from rollway.errors import UserError
from rollway.tools.sandboxes import Sandbox, SandboxSpec, open_sandbox

TASKS = [task for split in ("test", "train") for task in read_tasks(SHIPPED, split)]

TASK = """Add two numbers.

## Solution

```python
def add(a, b):
    return a + b
```

## Tests

```python
assert add(1, 2) == 3
```
"""


def test_there_are_two_splits_without_a_common_task():
    assert list_splits(SHIPPED) == ["test", "train"]
    assert len(read_tasks(SHIPPED, "test")) >= 40
    assert len({task["task_id"] for task in TASKS}) == len(TASKS) >= 60


def test_an_unknown_split_is_a_value_error_that_names_the_splits():
    with pytest.raises(ValueError, match="no split 'dev'; it has 'test' and 'train'"):
        read_tasks(SHIPPED, "dev")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task["task_id"])
def test_a_task_shows_examples_and_hides_at_least_six_cases_of_which_most_are_not_shown(task):
    shown = {_normal(f"assert {code} == {result or None}") for code, result in examples(task["prompt"])}
    assert shown
    assert "## " not in task["prompt"]
    cases = parse_tests(task["tests"]).cases
    assert len(cases) >= 6
    assert len([case for case in cases if case.text not in shown]) >= 5


def _normal(code: str) -> str:
    try:
        return ast.unparse(ast.parse(code))
    except SyntaxError:  # a statement, which shows no result
        return code


async def on_every_task(check: Callable[[Sandbox, dict[str, str]], Awaitable[None]]) -> None:
    """Several at a time, each in a sandbox that it has to itself for as long."""
    waiting = iter(TASKS)

    async def work() -> None:
        sandbox = await open_sandbox(SandboxSpec(backend="local"))
        try:
            for task in waiting:
                await check(sandbox, task)
        finally:
            await sandbox.close()

    await asyncio.gather(*(work() for _ in range(4)))


@pytest.mark.timeout(300)
async def test_the_reference_solution_of_every_task_passes_its_tests_and_the_examples_of_its_prompt():
    wrong = []

    async def check(sandbox: Sandbox, task: dict[str, str]) -> None:
        suite = parse_tests(task["tests"] + as_tests(task["prompt"]))
        verdict = await check_cases(sandbox, task["solution"], suite, timeout=60)
        if not verdict.all_passed:
            wrong.append((task["task_id"], verdict.reason))

    await on_every_task(check)
    assert wrong == []


@pytest.mark.timeout(300)
async def test_a_solution_that_knows_the_examples_of_the_prompt_alone_fails_every_task():
    passed, off = [], []

    async def check(sandbox: Sandbox, task: dict[str, str]) -> None:
        code = example_only(task["prompt"], task["solution"])
        hidden, shown = parse_tests(task["tests"]), parse_tests(as_tests(task["prompt"]))
        suite = Suite(hidden.preamble, (*shown.cases, *hidden.cases))
        verdict = await check_cases(sandbox, code, suite, timeout=60)
        if verdict.all_passed:
            passed.append(task["task_id"])
        if verdict.passed == 0 and "class " not in code and "lambda" not in task["prompt"]:
            off.append((task["task_id"], verdict.reason))

    await on_every_task(check)
    assert passed == []
    assert off == []  # the solution does know the examples


def test_a_folder_of_ones_own_tasks_is_read(tmp_path: Path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "add.md").write_text(TASK)
    (task,) = read_tasks(tmp_path, "test")
    assert task["task_id"] == "add"
    assert task["prompt"] == "Add two numbers.\n"
    assert task["tests"] == "assert add(1, 2) == 3\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("## Tests", "## Checks", "is not a task"),
        ("```python\nassert", "assert", "is not a task"),
        ("== 3", "!= 3", "in the tests: line 1: only '==' and 'is'"),
        ("== 3", "== 2 + add(1, 0)", "in the tests: line 1: the expected value must be a literal"),
        ("assert add(1, 2) == 3", "x = 1", "in the tests: it has no test"),
        ("assert add(1, 2) == 3", "assert (", "in the tests: line 1"),
    ],
)
def test_a_file_that_is_no_task_is_told_in_one_line_with_its_name(tmp_path: Path, old, new, told):
    file = tmp_path / "add.md"
    file.write_text(TASK.replace(old, new))
    with pytest.raises(UserError) as caught:
        read_task(file)
    assert str(file) in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_tasks_is_told_so(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no folder with .md files"):
        read_tasks(tmp_path, "test")


def test_a_folder_that_is_not_there_is_told_so(tmp_path: Path):
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        read_tasks(tmp_path / "nowhere", "test")
