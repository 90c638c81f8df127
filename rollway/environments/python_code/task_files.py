"""Tasks in Markdown files, one file per task and one folder per split. Nothing in them is run here.

A file is the prompt, then ``## Solution`` with a Python block (a reference solution), then ``## Tests`` with
a Python block (the hidden tests; see `cases`). The file's name is the task's id.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rollway.environments.python_code.cases import parse_tests
from rollway.errors import UserError

SHIPPED = Path(__file__).parent / "tasks"

_PARTS = re.compile(
    r"(?P<prompt>.*?)^## Solution\n+```python\n(?P<solution>.*?)^```\n+"
    r"## Tests\n+```python\n(?P<tests>.*?)^```\s*\Z",
    re.MULTILINE | re.DOTALL,
)


def list_splits(folder: Path) -> list[str]:
    """The names of the folders with tasks."""
    return sorted({file.parent.name for file in folder.glob("*/*.md")})


def read_tasks(folder: Path, split: str) -> list[dict[str, Any]]:
    """The tasks of a split, sorted by id: ``task_id``, ``prompt``, ``solution`` and ``tests``, all text.

    Raises:
        ValueError: there is no such split.
        UserError: there is no such folder, or a file is no task.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}; give one with a folder of tasks for each split")
    splits = list_splits(folder)
    if split not in splits:
        there = " and ".join(map(repr, splits)) or "no folder with .md files"
        raise ValueError(f"{folder} has no split {split!r}; it has {there}")
    return [read_task(file) for file in sorted((folder / split).glob("*.md"))]


def read_task(file: Path) -> dict[str, Any]:
    """One task.

    Raises:
        UserError: it cannot be read, or has not the three parts.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the task {file}: {error}") from None
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise UserError(
            f"{file} is not a task: write the prompt, then '## Solution' and '## Tests', each with one "
            "python block"
        )
    try:
        parse_tests(parts["tests"])
    except ValueError as error:
        raise UserError(f"{file}, in the tests: {error}") from None
    return {"task_id": file.stem, **{name: part.strip() + "\n" for name, part in parts.groupdict().items()}}
