"""Data that cannot be read is one line: which file, which line or column, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from rollway.data import DatasetSource, open_data
from rollway.errors import UserError


def complaint(source: Any, split: str = "test", **fields: Any) -> str:
    with pytest.raises(UserError) as error:
        list(DatasetSource(source, **fields).rows(split).ids())
    assert "\n" not in str(error.value)
    return str(error.value)


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.jsonl",
            b'{"n": 1}\n{"n": 2',
            "a.jsonl, line 2 is no JSON object: Input data was truncated (the file's",
        ),
        (
            "a.jsonl",
            b'{"n": 1}\n{"n"\n{"n": 3}\n',
            "a.jsonl, line 2 is no JSON object: Input data was truncated",
        ),
        ("a.jsonl", b'{"n": 1}\n[1]\n', "line 2 is no JSON object: Expected `object`, got `array`"),
        ("a.jsonl", b'{"task_id": "a"}\n\n{"n": 1}\n', "line 3: the row has no task_id, and the first has"),
        ("a.jsonl", b'{"n": 1}\n{"task_id": "a"}\n', "line 2: the row has a task_id, and the first has none"),
        (
            "a.jsonl",
            b'{"task_id": "a"}\n{"task_id": null}\n',
            "row 2 has the task_id None; give each row a 'task_id'",
        ),
        ("a.jsonl", b'{"task_id": 1}\n{"task_id": "1"}\n', "2 rows have the task_id '1'; each needs its own"),
        ("a.json", b'[{"n": 1}, {"n": 2', "a.json is no list of JSON objects: Input data was truncated"),
        ("a.json", b"[1]", "a.json is no list of JSON objects: Expected `object`, got `int`"),
        ("a.json", b'[{"task_id": 1}, {"n": 2}]', "rows 1 and 2: one has a task_id and the other none"),
        ("a.parquet", b"PAR1 and no more", "a.parquet is no Parquet file, or is torn"),
        ("a.parquet", b"", "a.parquet is no Parquet file, or is torn"),
        ("a.csv", b"", "a.csv is empty: give it a line of names, and rows"),
        ("a.csv", b"a,b\n1,2\n3\n", "a.csv cannot be read: CSV parse error: Expected 2 columns, got 1: 3"),
        ("a.csv", b"a,a\n1,2\n", "a.csv has two columns named 'a'"),
        ("a.csv", b"a\n\xff\n", "a.csv cannot be read"),
        ("a.csv", b"task_id\na\na\n", "2 rows have the task_id 'a'"),
        ("a.txt", b"a", "a.txt ends in none of the known endings; read are Parquet (.parquet), JSON Lines"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_the_place(
    name: str, content: bytes, expected: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert expected in complaint(tmp_path / name)


def test_a_torn_page_of_parquet_is_told_when_it_is_reached(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [{"n": f"{n} " * 20} for n in range(5000)])
    whole = bytearray((tmp_path / "a.parquet").read_bytes())
    whole[100:2000] = b"\xff" * 1900
    (tmp_path / "a.parquet").write_bytes(whole)
    assert "a.parquet cannot be read" in complaint(tmp_path / "a.parquet")


def test_values_that_python_lacks_are_told(tmp_path: Path) -> None:
    dates = pyarrow.array([2**62], pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({"when": dates}), tmp_path / "a.parquet")
    assert "a.parquet cannot be read" in complaint(tmp_path / "a.parquet")


@pytest.mark.parametrize("source", ["nothing.jsonl", "./nothing", "/nothing/at/all", "~/nothing.d/x", "a b"])
def test_a_path_that_is_not_there_is_never_looked_up_on_the_hub(source: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(datasets, "load_dataset_builder", None)
    assert complaint(source) == f"data: there is no file or folder {source}"


def test_a_folder_says_what_is_wrong_with_its_files(tmp_path: Path) -> None:
    assert f"the folder {tmp_path} is empty" in complaint(tmp_path)
    (tmp_path / "notes.txt").write_text("no rows")
    assert "has no file of these, and is no saved dataset; read are Parquet" in complaint(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"n": 1}\n')
    assert "has no split 'test'; it has: train; choose with --split, or data.split" in complaint(tmp_path)
    (tmp_path / "more.jsonl").write_text('{"n": 1}\n')
    assert "some files name a split (train) and some do not, such as more.jsonl" in complaint(tmp_path)
    (tmp_path / "more.csv").write_text("n\n1\n")
    assert "has files of several formats (.csv, .jsonl)" in complaint(tmp_path)


def test_files_of_which_some_have_ids_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [{"task_id": "a"}])
    parquet(tmp_path / "b.parquet", [{"n": 1}])
    assert "b.parquet has no column 'task_id'" in complaint(tmp_path)


def test_a_split_of_a_saved_dataset_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_list([{"n": 1}]), "dev": datasets.Dataset.from_list([{"n": 1}])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert "saved has no split 'test'; it has: train, dev" in complaint(tmp_path / "saved")
    assert "no split 'tran' (did you mean 'train'?)" in complaint(tmp_path / "saved", split="tran")


def test_a_saved_dataset_that_is_torn_is_told(tmp_path: Path) -> None:
    datasets.Dataset.from_list([{"n": 1}]).save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:50])
    assert "saved cannot be read" in complaint(tmp_path / "saved")


def test_what_is_for_the_hub_is_refused_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    assert "data.name is for datasets on the Hub" in complaint(tmp_path / "a.jsonl", name="main")
    assert "data.revision is for datasets on the Hub" in complaint(tmp_path / "a.jsonl", revision="v1")


def test_what_is_no_source_is_refused() -> None:
    assert "data: 7 is no file, folder, name on the Hub" in complaint(7)
    assert "data: {} is no file" in complaint({})


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    told = complaint("nobody/nothing")
    assert told.startswith(
        "data: there is no file or folder 'nobody/nothing', and it cannot be had from the Hub"
    )


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    source = DatasetSource(tmp_path / "later.jsonl")
    (tmp_path / "later.jsonl").write_text('{"n": 1}\n')
    assert len(source.rows("test")) == 1
    assert open_data(source).fingerprint("test") is not None
