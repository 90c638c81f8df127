"""Parquet and CSV files as tables.

Parquet is read a batch at a time, and its footers alone say how many rows there are. CSV says nothing of
types: each value is text, as it stands there, and an empty field is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollway.data.tables import CHUNK_ROWS, ID, ArrowTable, in_one_line, unreadable
from rollway.errors import UserError

READ_BYTES = 2**20
"""Of a Parquet column that are read at a time."""


def parquet_table(where: str, files: Sequence[Path]) -> ArrowTable:
    """Parquet files, one after the other. They need not have the same columns.

    Raises:
        UserError: one is none, or is torn.
    """
    columns: dict[Path, list[str]] = {}
    count = 0
    for file in files:
        with _opened(file) as opened:
            count += opened.metadata.num_rows
            columns[file] = opened.schema_arrow.names

    def batches(wanted: list[str] | None) -> Iterator[Any]:
        for file in files:
            with _opened(file) as opened:
                yield from opened.iter_batches(CHUNK_ROWS, columns=wanted, use_threads=False)

    return ArrowTable(where, count, _all_columns(columns), batches)


def _opened(file: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"data: {file} is no Parquet file, or is torn: {in_one_line(error)}") from None


def csv_table(where: str, files: Sequence[Path], delimiter: str) -> ArrowTable:
    """Text files with a line of names. They are read once to count their rows.

    Raises:
        UserError: one cannot be read, or has another number of fields in a row than in its first line.
    """
    columns: dict[Path, list[str]] = {}
    count = 0
    for file in files:
        columns[file] = []
        for batch in _csv_batches(file, delimiter, None):
            columns[file] = batch.schema.names
            count += batch.num_rows

    def batches(wanted: list[str] | None) -> Iterator[Any]:
        for file in files:
            for batch in _csv_batches(file, delimiter, wanted):
                for start in range(0, batch.num_rows, CHUNK_ROWS):
                    yield batch.slice(start, CHUNK_ROWS)

    return ArrowTable(where, count, _all_columns(columns), batches)


def _csv_batches(file: Path, delimiter: str, wanted: list[str] | None) -> Iterator[Any]:
    import pyarrow
    from pyarrow import csv

    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        with csv.open_csv(file, parse_options=parsing) as reader:
            names = reader.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"data: {file} has two columns named {twice!r}")
        converting = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pyarrow.string()),
            include_columns=wanted,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        with csv.open_csv(file, parse_options=parsing, convert_options=converting) as reader:
            yield from reader
    except (pyarrow.ArrowException, OSError) as error:
        if "Empty CSV file" in str(error):
            raise UserError(f"data: {file} is empty: give it a line of names, and rows") from None
        raise unreadable(str(file), error) from None


def _all_columns(columns: Mapping[Path, list[str]]) -> list[str]:
    """Those of all files. The ids are in all of them or in none."""
    found = dict.fromkeys(name for names in columns.values() for name in names)
    lacking = next((file for file, names in columns.items() if names and ID not in names), None)
    if ID in found and lacking is not None:
        raise UserError(
            f"data: {lacking} has no column 'task_id', and other files beside it have one; give every file "
            f"one, or none"
        )
    return list(found)
