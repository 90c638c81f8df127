"""The files of a folder, and the splits that their names say.

A split is named where the Hub looks for it, too: ``train.jsonl``, ``data/test-00000-of-00003.parquet``,
``validation/part-0.csv``. Either all files name one or none does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rollway.errors import UserError

ENDINGS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Of the files that are read."""

_NO_ROWS = ("dataset_info.json", "dataset_infos.json", "config.json")
"""What the Hub keeps beside the files of a dataset."""

READ = "Parquet (.parquet), JSON Lines (.jsonl, .ndjson, .json), CSV (.csv, .tsv)"

_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def data_files(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders that can be read, by name. Hidden ones are left out.

    Raises:
        UserError: there is none, or there are several formats.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and path.is_file() and not _is_no_data(path.relative_to(folder))
    )
    if not found:
        what = "is empty" if not any(folder.iterdir()) else "has no file of these, and is no saved dataset"
        raise UserError(f"data: the folder {folder} {what}; read are {READ}, and what save_to_disk wrote")
    endings = sorted({path.suffix.lower() for path in found})
    if len(endings) > 1:
        raise UserError(
            f"data: the folder {folder} has files of several formats ({', '.join(endings)}); name one of "
            f"them, or a folder with one format"
        )
    return found


def by_split(folder: Path, files: Iterable[Path]) -> dict[str, list[Path]]:
    """Files by the split that their names say; empty: they say none.

    Raises:
        UserError: some say one and some do not.
    """
    splits: dict[str, list[Path]] = {}
    others: list[Path] = []
    for file in files:
        split = _split_of(file.relative_to(folder))
        (others if split is None else splits.setdefault(split, [])).append(file)
    if splits and others:
        raise UserError(
            f"data: in the folder {folder} some files name a split ({', '.join(splits)}) and some do not, "
            f"such as {others[0].name}; name one file, or put them into folders of their own"
        )
    return splits


def _split_of(path: Path) -> str | None:
    for part in (*path.parts[:-1], path.stem):
        word = re.split(r"[-_. ]", part.lower(), maxsplit=1)[0]
        if word in _SPLITS:
            return _SPLITS[word]
    return None


def _is_no_data(path: Path) -> bool:
    return path.name in _NO_ROWS or any(part.startswith((".", "_")) for part in path.parts)
