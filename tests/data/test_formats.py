"""Rows of files, folders and datasets as tasks: the same ids in every format, and absent keys stay absent."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.data import DatasetSource, open_data
from rollway.data.content_ids import ContentIds

Rows = list[dict[str, Any]]
FLAT = [{"question": "What is 2 + 3?", "answer": 5}, {"question": 'Say "é",\nplease', "answer": -1}]
NESTED = [
    {"messages": [{"role": "user", "content": "Hi", "name": "Ann"}], "meta": {"level": 1}},
    {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "arguments": "{ }"}]},
        ],
        "meta": {"tags": ["a", "b"]},
    },
]


def lines(rows: Rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write_jsonl(folder: Path, rows: Rows) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(lines(rows))
    return path


def write_json(folder: Path, rows: Rows) -> Path:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows, indent=1))
    return path


def write_parquet(folder: Path, rows: Rows) -> Path:
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def write_csv(folder: Path, rows: Rows) -> Path:
    path = folder / "rows.csv"
    pyarrow.csv.write_csv(pyarrow.Table.from_pylist(rows), path)
    return path


def write_saved(folder: Path, rows: Rows) -> Path:
    datasets.Dataset.from_list(rows).save_to_disk(folder / "saved")
    return folder / "saved"


def write_folder(folder: Path, rows: Rows) -> Path:
    path = folder / "folder"
    (path / ".cache").mkdir(parents=True)
    (path / ".cache" / "hidden.jsonl").write_bytes(b"not a row\n")
    (path / "README.md").write_text("a card")
    (path / "dataset_infos.json").write_text("{}")
    for number, row in enumerate(rows):
        (path / f"part-{number}.jsonl").write_bytes(lines([row]))
    return path


ARROW = [write_parquet, write_saved]
NESTING = [write_jsonl, write_json, write_folder, *ARROW]


def tasks(source: Any, split: str = "test") -> Rows:
    return list(DatasetSource(source).rows(split))


@pytest.mark.parametrize("write", [*NESTING, write_csv])
def test_rows_without_an_id_have_the_same_one_in_every_format(
    write: Callable[[Path, Rows], Path], tmp_path: Path
) -> None:
    found = tasks(write(tmp_path, FLAT))
    assert [task["question"] for task in found] == [row["question"] for row in FLAT]
    assert [task["task_id"] for task in found] == ["4379300fd3da13bd", "b81240dafff128a3"], (
        "stored runs name them"
    )


@pytest.mark.parametrize("write", NESTING)
def test_keys_that_a_row_lacks_are_absent_in_its_task(
    write: Callable[[Path, Rows], Path], tmp_path: Path
) -> None:
    found = tasks(write(tmp_path, NESTED))
    ids = [task.pop("task_id") for task in found]
    assert found == NESTED
    assert ids == [ContentIds().of(row) for row in NESTED]


def test_a_null_says_in_json_lines_that_it_is_null(tmp_path: Path) -> None:
    rows = [{"hint": None, "meta": {"level": None}}]
    (task,) = tasks(write_jsonl(tmp_path, rows))
    assert {**rows[0], "task_id": task["task_id"]} == task


@pytest.mark.parametrize("write", ARROW)
def test_a_null_column_is_none(write: Callable[[Path, Rows], Path], tmp_path: Path) -> None:
    found = tasks(write(tmp_path, [{"a": "1", "hint": None}, {"a": "2", "hint": "b"}]))
    assert [task["hint"] for task in found] == [None, "b"]


def test_maps_and_lists_of_lists_come_as_dicts_and_lists(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "map": pyarrow.array([[("a", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
            "grid": pyarrow.array([[[{"x": 1, "y": None}], []]]),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    (task,) = tasks(tmp_path / "rows.parquet")
    assert (task["map"], task["grid"]) == ({"a": 1}, [[{"x": 1}], []])


def test_values_of_csv_are_text_as_it_stands_there(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('code,count,note,empty\n007,12,"a, ""b""\nc",""\n008,,,x\n')
    first, second = tasks(tmp_path / "rows.csv")
    assert (first["code"], first["count"], first["note"], first["empty"]) == ("007", "12", 'a, "b"\nc', "")
    assert (second["count"], second["note"]) == (None, None)


@pytest.mark.parametrize("write", [*NESTING, write_csv])
def test_ids_of_the_data_are_used(write: Callable[[Path, Rows], Path], tmp_path: Path) -> None:
    assert [task["task_id"] for task in tasks(write(tmp_path, [{"task_id": 7}, {"task_id": 8}]))] == [
        "7",
        "8",
    ]


def test_rows_that_say_the_same_are_told_apart_by_a_counter(tmp_path: Path) -> None:
    one, other = {"q": "same", "n": None}, {"q": "other"}
    first, *_ = [task["task_id"] for task in tasks(write_jsonl(tmp_path, [one]))]
    assert [task["task_id"] for task in tasks(write_jsonl(tmp_path, [one, other, {"q": "same"}, one]))][
        ::2
    ] == [
        first,
        f"{first}-2",
    ]


SCALARS = st.one_of(st.text(max_size=5), st.integers(-(2**70), 2**70), st.booleans(), st.none(), st.floats())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=6), st.randoms())
def test_ids_depend_neither_on_the_order_of_rows_nor_of_keys(rows: Rows, chance: random.Random) -> None:
    shuffled = [dict(chance.sample(list(row.items()), len(row))) for row in chance.sample(rows, len(rows))]
    here, there = ContentIds(), ContentIds()
    ids = [here.of(row) for row in rows]
    assert sorted(ids) == sorted(there.of(row) for row in shuffled)
    assert len(set(ids)) == len(rows)


def test_datasets_and_dicts_of_splits_are_taken_as_they_are() -> None:
    dataset = datasets.Dataset.from_list([{"n": 1}, {"n": 2}, {"n": 3}])
    picked = dataset.select([2, 0])
    assert [task["n"] for task in tasks(picked)] == [3, 1]
    splits = datasets.DatasetDict({"train": dataset, "test": picked})
    assert [task["n"] for task in tasks(splits, "train")] == [1, 2, 3]
    assert len(tasks(splits)) == 2


@pytest.mark.parametrize(
    "names",
    [
        ["train.jsonl", "test.jsonl"],
        ["data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl"],
        ["training/a.jsonl", "eval/a.jsonl"],
    ],
)
def test_splits_of_a_folder_are_what_its_files_are_named(names: list[str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lines([{"n": number}]))
    assert [task["n"] for task in tasks(tmp_path, "train")] == [0]
    assert [task["n"] for task in tasks(tmp_path)] == [1]
    assert [task["n"] for task in list(DatasetSource(tmp_path, split="train").rows("test"))] == [0]


@pytest.mark.parametrize("write", [write_parquet, write_jsonl, write_saved])
def test_content_that_changes_changes_the_fingerprint(
    write: Callable[[Path, Rows], Path], tmp_path: Path
) -> None:
    (tmp_path / "moved").mkdir()
    before = open_data(DatasetSource(write(tmp_path, [{"n": 1}]))).fingerprint("test")
    assert open_data(DatasetSource(write(tmp_path / "moved", [{"n": 2}]))).fingerprint("test") != before
