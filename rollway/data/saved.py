"""What the `datasets` library reads: folders that `save_to_disk` wrote, datasets on the Hub, and its objects.

All of it is memory-mapped Arrow. No dataset's own code is run: the library is never allowed to.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rollway.data.tables import CHUNK_ROWS, ArrowTable, in_one_line
from rollway.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_saved(folder: Path) -> bool:
    """Did `save_to_disk` write it?"""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def load_saved(folder: Path) -> Any:
    """A ``Dataset``, or a ``DatasetDict`` of splits.

    Raises:
        UserError: it cannot be read.
    """
    from datasets import load_from_disk

    try:
        return load_from_disk(str(folder))
    except Exception as error:  # pyarrow's, json's and the library's own
        raise UserError(f"data: the saved dataset {folder} cannot be read: {in_one_line(error)}") from error


def saved_files(folder: Path, splits: Mapping[str, Any] | None, split: str | None) -> dict[str, Path]:
    """The files of a saved dataset, or of one split of it, by name."""
    inside = folder if splits is None or split is None else folder / split
    return {str(path.relative_to(folder)): path for path in inside.rglob("*") if path.is_file()}


class HubDataset:
    """A dataset on the Hub, found. Its data is downloaded, and kept in the library's cache, by `split`.

    Raises:
        UserError: it cannot be reached, or has no such configuration or revision.
    """

    def __init__(self, name: str, configuration: str | None, revision: str | None) -> None:
        from datasets import load_dataset_builder

        self.name = name
        arguments: dict[str, Any] = {}
        if "trust_remote_code" in inspect.signature(load_dataset_builder).parameters:
            arguments["trust_remote_code"] = False  # else an older version asks at the terminal
        try:
            with _without_retries_told():
                commit = _commit(name, revision)
                self._builder = load_dataset_builder(name, configuration, revision=commit, **arguments)
        except Exception as error:  # of the network, of the Hub, of a dataset that is not as it should be
            raise UserError(
                f"data: there is no file or folder {name!r}, and it cannot be had from the Hub: "
                f"{in_one_line(error)}"
            ) from error
        self.revision: str | None = getattr(self._builder, "hash", None)
        if commit is not None and commit != self.revision:  # the library takes what it finds in its cache
            raise UserError(
                f"data: revision {revision} of {name!r} cannot be had from the Hub, and is not in the cache "
                f"(that has {self.revision})"
            )

    def splits(self) -> list[str]:
        """Their names; empty where the Hub does not say before the download."""
        return list(self._builder.info.splits or ())

    def split(self, name: str) -> Any:
        """One split, as a ``Dataset``.

        Raises:
            UserError: it cannot be downloaded.
        """
        try:
            self._builder.download_and_prepare()
        except Exception as error:
            raise UserError(f"data: {self.name!r} cannot be downloaded: {in_one_line(error)}") from error
        return None if name not in self.splits() else self._builder.as_dataset(split=name)


def _commit(name: str, revision: str | None) -> str | None:
    """The commit that a branch or a tag is now: the library would take another one from its cache for it."""
    if revision is None or _COMMIT.fullmatch(revision):
        return revision
    from datasets import config
    from huggingface_hub import HfApi

    commit: str | None = HfApi(endpoint=config.HF_ENDPOINT).dataset_info(name, revision=revision).sha
    return commit


@contextmanager
def _without_retries_told() -> Iterator[None]:
    """The Hub's client logs a line for each try of a server that does not answer; what came of it is told."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def dataset_table(where: str, dataset: Any) -> ArrowTable:
    """A ``datasets.Dataset``."""

    def batches(wanted: list[str] | None) -> Iterator[Any]:
        columns = dataset if wanted is None else dataset.select_columns(wanted)
        arrow = columns.with_format("arrow")
        for start in range(0, len(dataset), CHUNK_ROWS):
            yield arrow[start : start + CHUNK_ROWS]

    return ArrowTable(where, len(dataset), list(dataset.column_names), batches)
