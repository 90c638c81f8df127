"""The rollouts of a run, whatever is wrong with what they are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollway.errors import UserError
from rollway.evaluation import evaluate_async
from rollway.trajectory import StopReason

Config = Callable[..., Any]

ROWS = '''
class Rows:
    """As of a dataset: a column of ids, and rows that are decoded when they are asked for."""

    column_names = ("task_id", "n")

    def __init__(self, unreadable):
        self.unreadable = unreadable

    def __len__(self):
        return 4

    def __getitem__(self, key):
        if key == "task_id":
            return [f"test-{n}" for n in range(4)]
        if key == self.unreadable:
            raise OSError("cannot identify image file")
        return {"task_id": f"test-{key}", "n": key}


class Sums(Environment):'''


async def test_a_task_that_cannot_be_read_fails_its_own_rollouts_alone(
    policy, config: Config, edit_environment, stored, tmp_path: Path
) -> None:
    edit_environment("class Sums(Environment):", ROWS)
    edit_environment(
        'return [{"task_id": f"{split}-{n}", "n": n} for n in range(self.size)]', "return Rows(2)"
    )
    summary = await evaluate_async(config(policy, samples=2, concurrency=2))
    assert (summary.scored, summary.failures) == (6, {"environment_error: OSError": 2})
    found = stored(tmp_path / "run")
    assert len(found) == 8
    lost = found["test-2", 1]
    assert lost.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert lost.error is not None
    assert lost.error.message == "cannot identify image file"


async def test_a_first_task_that_cannot_be_read_is_told_before_anything_starts(
    config: Config, edit_environment, tmp_path: Path
) -> None:
    edit_environment("class Sums(Environment):", ROWS)
    edit_environment(
        'return [{"task_id": f"{split}-{n}", "n": n} for n in range(self.size)]', "return Rows(0)"
    )
    with pytest.raises(
        UserError,
        match=r"'Sums', split 'test': task 'test-0' cannot be read: OSError: cannot identify image file",
    ):
        await evaluate_async(config("http://127.0.0.1:9"))
    assert not (tmp_path / "run").exists()
