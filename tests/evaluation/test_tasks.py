"""Which rollouts a run asks for: stable keys, stable seeds, and complaints about tasks without either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway import Environment
from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.tasks import load_tasks, rollout_seed


class Given(Environment):
    name = "given"

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def tasks(self, split: str) -> Any:
        if split != "test":
            raise ValueError("there is only 'test'")
        return self.rows


def config(**changes: Any) -> EvalConfig:
    return EvalConfig(environment="x", split="test", **changes)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"task_id": f"t{n}", "n": n} for n in range(count)]


def complaint(given_rows: Any, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        load_tasks(Given(given_rows), config(**changes))
    return str(error.value)


def test_the_samples_of_a_task_come_one_after_the_other_and_done_ones_are_left_out() -> None:
    asked = config(tasks=2, samples=2)
    tasks = load_tasks(Given(rows(5)), asked)
    assert [job.key for job in tasks.jobs(asked, {("t0", 1)})] == [("t0", 0), ("t1", 0), ("t1", 1)]


def test_an_endless_stream_of_tasks_is_read_no_further_than_asked() -> None:
    def endless() -> Iterator[dict[str, Any]]:
        yield from rows(3)
        raise AssertionError("read too far")

    assert list(load_tasks(Given(endless()), config(tasks=3)).ids()) == ["t0", "t1", "t2"]


def test_a_dataset_is_read_row_by_row() -> None:
    tasks = load_tasks(Given(datasets.Dataset.from_list(rows(4))), config(task_ids=["t3", "t1"]))
    assert list(tasks.ids()) == ["t3", "t1"]
    assert tasks.first() == {"task_id": "t3", "n": 3}


@pytest.mark.parametrize("number", [7, numpy.int64(7)])
def test_whole_numbers_are_ids_too(number: Any) -> None:
    asked = config()
    tasks = load_tasks(Given([{"task_id": number}]), asked)
    assert [job.key for job in tasks.jobs(asked, set())] == [("7", 0)]


@pytest.mark.parametrize(
    ("given_rows", "expected"),
    [
        ([{"n": 1}], "environment 'given', split 'test': task 0 has the task_id None"),
        ([{"task_id": ""}], "task 0 has the task_id ''"),
        ([{"task_id": "half a pair: \ud83d"}], "task 0 has the task_id 'half a pair: \\ud83d'"),
        ([{"task_id": "a"}, {"task_id": "a"}], "two tasks have the task_id 'a'"),
        ([{"task_id": 1}, {"task_id": "1"}], "two tasks have the task_id '1'"),
        (["a"], "task 0 is a str; a task must be a dict"),
        ([], "environment 'given' has no tasks in split 'test'"),
        (7, "TypeError: 'int' object is not iterable"),
        (datasets.Dataset.from_list([{"n": 1}]), "the dataset has no column 'task_id'"),
    ],
)
def test_tasks_that_cannot_be_told_apart_are_refused(given_rows: Any, expected: str) -> None:
    assert expected in complaint(given_rows)


def test_an_unknown_split_is_told_in_the_environments_own_words() -> None:
    with pytest.raises(UserError, match="no tasks for split 'tset': there is only 'test'"):
        load_tasks(Given(rows(1)), EvalConfig(environment="x", split="tset"))


@pytest.mark.parametrize("error", [SystemExit("no such file"), OSError("no such file")])
def test_tasks_that_cannot_be_had_are_told_in_one_line(error: BaseException) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"task_id": "a"}
        raise error

    assert complaint(rows()).endswith(f"no tasks for split 'test': {type(error).__name__}: no such file")


def test_an_unknown_task_id_names_the_nearest() -> None:
    assert "no task 'task-1' in split 'test' (did you mean 't-1'?)" in complaint(
        [{"task_id": "t-1"}], task_ids=["task-1"]
    )


@given(st.integers(), st.text(), st.integers(0, 1000))
def test_a_seed_depends_on_the_key_alone_and_fits_every_server(seed: int, task_id: str, sample: int) -> None:
    value = rollout_seed(seed, task_id, sample)
    assert value == rollout_seed(seed, task_id, sample)
    assert value is not None
    assert 0 <= value < 2**31


def test_seeds_differ_by_run_task_and_sample() -> None:
    seeds = {
        rollout_seed(run, f"t{task}", sample)
        for run in range(5)
        for task in range(20)
        for sample in range(20)
    }
    assert len(seeds) == 2000
    assert rollout_seed(0, "t1", 0) == 1_363_784_551, "a stored run must be gone on with by later versions"
    assert rollout_seed(None, "t1", 0) is None
