"""What a source names, and opening it: one place that knows all kinds.

The invariant: a name that is a file or folder here is never looked up on the Hub, and one that looks like a
path never is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rollway.data.fingerprint import fingerprint
from rollway.data.folders import ENDINGS, READ, by_split, data_files
from rollway.data.json_lines import LinesTable, json_table
from rollway.data.parquet_csv import csv_table, parquet_table
from rollway.data.rows import DataRows
from rollway.data.saved import HubDataset, dataset_table, is_saved, load_saved, saved_files
from rollway.data.tables import Table, unreadable
from rollway.errors import UserError, in_short, nearest

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class DatasetSource(msgspec.Struct, frozen=True):
    """Which rows: what names them, and what is chosen of it."""

    source: Any  # a file, a folder, a name on the Hub, or a `datasets.Dataset`
    name: str | None = None  # of the Hub dataset's configuration
    split: str | None = None  # None: the one that is asked for
    revision: str | None = None  # of the Hub dataset: a branch, a tag or a commit; None: what is there now

    def rows(self, split: str) -> DataRows:
        """The rows of a split, opened now.

        Raises:
            UserError: as `open_data` and `Data.rows`.
        """
        return open_data(self).rows(self.split or split)


class Data:
    """A source that was found. Made by `open_data`.

    With no ``splits`` it is one table, which is every split; or they are known after the download only, and
    ``table`` returns None for one that is not there.
    """

    def __init__(
        self,
        where: str,
        splits: Callable[[], list[str]],
        table: Callable[[str], Table | None],
        *,
        fingerprint: Callable[[str], str | None] = lambda split: None,
        revision: str | None = None,
    ) -> None:
        self.where = where
        self.revision = revision
        self._splits = splits
        self._table = table
        self._fingerprint = fingerprint

    def rows(self, split: str) -> DataRows:
        """The rows of a split as tasks.

        Raises:
            UserError: there is no such split, or its rows cannot be read.
        """
        splits = self._splits()
        table = None if splits and split not in splits else self._table(split)
        if table is None:
            splits = self._splits()
            raise UserError(
                f"data: {self.where} has no split {split!r}{nearest(split, splits)}; it has: "
                f"{', '.join(splits)}; choose with --split, or data.split"
            )
        return DataRows(table)

    def fingerprint(self, split: str) -> str | None:
        """What tells the data of this split from any other; None where the revision does.

        Raises:
            UserError: a file cannot be read.
        """
        try:
            return self._fingerprint(split)
        except OSError as error:
            raise unreadable(self.where, error) from error


def open_data(wanted: DatasetSource) -> Data:
    """Find what a source names.

    Raises:
        UserError: there is no such thing, or it is nothing that can be read.
    """
    source = wanted.source
    if not isinstance(source, str | os.PathLike):
        return _given(source)
    text = os.fspath(source)
    path = Path(text).expanduser()
    if path.exists():
        _refuse_hub_fields(wanted, path)
        return _folder(path) if path.is_dir() else _files(str(path), {path.name: path}, {})
    if _looks_like_path(text):
        raise UserError(f"data: there is no file or folder {text}")
    return _hub(text, wanted)


class FoundRows(msgspec.Struct, frozen=True):
    """The rows of a run, and what tells them from any others."""

    rows: DataRows
    revision: str | None  # of a dataset on the Hub: the commit
    fingerprint: str | None  # of files; None: there are none


def find_rows(wanted: DatasetSource, split: str, *, fingerprint: str | None = None) -> FoundRows:
    """The rows of a split. ``fingerprint``: they must be the ones that it was taken of.

    Raises:
        UserError: there are no such rows, or they have changed.
    """
    data = open_data(wanted)
    rows = data.rows(split)
    found = data.fingerprint(split)
    if fingerprint is not None and fingerprint != found:
        raise UserError(
            f"data: {data.where} is not what it was when the run began (data.fingerprint was "
            f"{fingerprint} and is {found}); bring that back, or begin another run without data.fingerprint"
        )
    return FoundRows(rows, data.revision or wanted.revision, found)


def is_path(source: str) -> bool:
    """Is it a file or folder on this machine, or meant to be one?"""
    return Path(source).expanduser().exists() or _looks_like_path(source)


def _looks_like_path(text: str) -> bool:
    return Path(text).suffix.lower() in ENDINGS or not _HUB_NAME.fullmatch(text)


def _refuse_hub_fields(wanted: DatasetSource, path: Path) -> None:
    for field in ("name", "revision"):
        if getattr(wanted, field) is not None:
            raise UserError(f"data.{field} is for datasets on the Hub, and {path} is here: leave it out")


def _given(source: Any) -> Data:
    """A `datasets` object."""
    if isinstance(source, Mapping):
        splits = {name: part for name, part in source.items() if hasattr(part, "column_names")}
        if splits:
            return Data(
                "the DatasetDict",
                lambda: list(splits),
                lambda split: dataset_table("the DatasetDict", splits[split]),
            )
    elif hasattr(source, "select_columns") and hasattr(source, "__getitem__"):
        return Data("the Dataset", list, lambda split: dataset_table("the Dataset", source))
    raise UserError(
        f"data: {in_short(source)} is no file, folder, name on the Hub, datasets.Dataset or DatasetDict"
    )


def _folder(folder: Path) -> Data:
    if is_saved(folder):
        return _saved(folder)
    files = data_files(folder)
    named = {str(file.relative_to(folder)): file for file in files}
    return _files(str(folder), named, by_split(folder, files))


def _saved(folder: Path) -> Data:
    dataset = load_saved(folder)
    splits = dataset if isinstance(dataset, Mapping) else None

    def table(split: str) -> Table:
        return dataset_table(str(folder), dataset if splits is None else splits[split])

    def told(split: str) -> str:
        return fingerprint(saved_files(folder, splits, split))

    return Data(str(folder), lambda: list(splits or ()), table, fingerprint=told)


def _files(where: str, named: Mapping[str, Path], splits: Mapping[str, list[Path]]) -> Data:
    ending = next(iter(named.values())).suffix.lower()

    def of(split: str) -> list[Path]:
        return splits[split] if splits else list(named.values())

    def told(split: str) -> str:
        chosen = set(of(split))
        return fingerprint({name: path for name, path in named.items() if path in chosen})

    if ending not in ENDINGS:
        raise UserError(f"data: {where} ends in none of the known endings; read are {READ}, and folders")
    return Data(where, lambda: list(splits), lambda split: _table(where, ending, of(split)), fingerprint=told)


def _table(where: str, ending: str, files: list[Path]) -> Table:
    if ending == ".parquet":
        return parquet_table(where, files)
    if ending in (".csv", ".tsv"):
        return csv_table(where, files, "\t" if ending == ".tsv" else ",")
    return json_table(where, files) if ending == ".json" else LinesTable(where, files)


def _hub(name: str, wanted: DatasetSource) -> Data:
    found = HubDataset(name, wanted.name, wanted.revision)
    where = f"the dataset {name!r}"

    def table(split: str) -> Table | None:
        dataset = found.split(split)
        return None if dataset is None else dataset_table(where, dataset)

    return Data(where, found.splits, table, revision=found.revision)
