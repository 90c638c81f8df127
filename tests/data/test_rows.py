"""Rows are read as they are needed: a table of a billion rows begins as one of ten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from rollway.data import DataRows, DatasetSource
from rollway.data.tables import CHUNK_ROWS, Survey
from rollway.errors import UserError


class Counting:
    """A table of ``count`` rows that counts those which became Python values."""

    where = "counting"

    def __init__(self, count: int, *, has_ids: bool = False) -> None:
        self.count = count
        self.has_ids = has_ids
        self.opened = 0
        self.read = 0

    def survey(self, limit: int | None) -> Survey:
        count = self.count if limit is None else min(limit, self.count)
        ids = iter([[f"t{n}" for n in range(count)]]) if self.has_ids else None
        return Survey(count, ids)

    def chunks(self) -> Iterator[tuple[int, Callable[[], list[dict[str, Any]]]]]:
        for start in range(0, self.count, CHUNK_ROWS):
            self.opened += 1
            yield CHUNK_ROWS, lambda start=start: self._rows(start)

    def _rows(self, start: int) -> list[dict[str, Any]]:
        self.read += CHUNK_ROWS
        return [{"n": n} for n in range(start, start + CHUNK_ROWS)]


def test_the_first_rows_of_a_billion_read_one_chunk() -> None:
    table = Counting(10**9)
    rows = DataRows(table)
    assert len(rows) == 10**9
    assert rows.given_ids() is None
    assert [task["n"] for task in islice(rows, 3)] == [0, 1, 2]
    assert table.read == CHUNK_ROWS


def test_no_more_rows_are_read_than_were_asked_for() -> None:
    table = Counting(10**9)
    assert len([*DataRows(table).head(CHUNK_ROWS + 1)]) == CHUNK_ROWS + 1
    assert (table.opened, table.read) == (2, 2 * CHUNK_ROWS)


def test_chunks_in_which_nothing_is_wanted_are_not_read_where_the_ids_are_known() -> None:
    table = Counting(10 * CHUNK_ROWS, has_ids=True)
    wanted = f"t{5 * CHUNK_ROWS + 7}"
    ((task_id, read),) = DataRows(table).entries(wanted.__eq__)
    assert (task_id, read()) == (wanted, {"n": 5 * CHUNK_ROWS + 7, "task_id": wanted})
    assert table.read == CHUNK_ROWS


def test_every_reading_of_a_row_is_a_dict_of_its_own() -> None:
    ((_, read), *_) = DataRows(Counting(1)).entries(lambda task_id: True)
    read()["n"] = "changed"
    assert read()["n"] == 0


def test_a_table_that_becomes_shorter_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"n": 1}\n{"n": 2}\n')
    rows = DatasetSource(file).rows("test")
    assert len(rows) == 2
    file.write_text('{"n": 1}\n')
    with pytest.raises(UserError, match="1 rows less than when the run began"):
        list(rows)


def test_parquet_is_read_a_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in range(3):
        numbers = range(part * 2000, part * 2000 + 2000)
        table = pyarrow.table({"n": list(numbers)})
        pyarrow.parquet.write_table(table, tmp_path / f"part-{part}.parquet")
    sizes: list[int] = []
    whole = pyarrow.parquet.ParquetFile.iter_batches

    def counted(self: Any, *args: Any, **options: Any) -> Iterator[Any]:
        for batch in whole(self, *args, **options):
            sizes.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", counted)
    rows = iter(DatasetSource(tmp_path).rows("test"))
    assert next(rows)["n"] == 0
    assert sizes == [CHUNK_ROWS]
    assert [task["n"] for task in rows] == list(range(1, 6000))
    assert (max(sizes), sum(sizes)) == (CHUNK_ROWS, 6000)
