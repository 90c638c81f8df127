"""Where rows come from: the one protocol of all formats, and Arrow data behind it.

The invariant: a pass over a table holds one chunk of it at a time, and rows of a chunk become Python values
only when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from rollway.data.nulls import without_null_members
from rollway.errors import UserError

if TYPE_CHECKING:
    import pyarrow

CHUNK_ROWS = 512
"""Rows that are read at a time."""

ID = "task_id"


class Survey(msgspec.Struct, frozen=True):
    """What is known of a table before its rows are read."""

    count: int  # rows
    ids: Iterator[Sequence[Any]] | None  # the column `task_id`, chunk by chunk; None: there is none


class Table(Protocol):
    """Rows in a stable order."""

    where: str  # for complaints

    def survey(self, limit: int | None) -> Survey:
        """Look over the first ``limit`` rows, or all of them.

        Raises:
            UserError: they cannot be read.
        """
        ...

    def chunks(self) -> Iterator[tuple[int, Callable[[], list[dict[str, Any]]]]]:
        """The rows from the first on: how many are in a chunk, and what reads them.

        Raises:
            UserError: from here on they cannot be read.
        """
        ...


Batches = Callable[[list[str] | None], "Iterator[pyarrow.RecordBatch | pyarrow.Table]"]
"""Opens a pass over some columns; None: all."""


class ArrowTable:
    """Data that pyarrow reads, in batches."""

    def __init__(self, where: str, count: int, columns: Sequence[str], batches: Batches) -> None:
        self.where = where
        self._count = count
        self._columns = columns
        self._batches = batches

    def survey(self, limit: int | None) -> Survey:
        ids = None
        if ID in self._columns:
            ids = (batch.column(ID).to_pylist() for batch in self._read([ID]))
        return Survey(self._count if limit is None else min(limit, self._count), ids)

    def chunks(self) -> Iterator[tuple[int, Callable[[], list[dict[str, Any]]]]]:
        for batch in self._read(None):
            yield batch.num_rows, partial(self._rows, batch)

    def _rows(self, batch: Any) -> list[dict[str, Any]]:
        try:
            return [without_null_members(row) for row in batch.to_pylist()]
        except (ValueError, TypeError, OverflowError) as error:  # no UTF-8, or a date that Python lacks
            raise unreadable(self.where, error) from error

    def _read(self, columns: list[str] | None) -> Iterator[Any]:
        from pyarrow import ArrowException

        try:
            yield from self._batches(columns)
        except (ArrowException, OSError) as error:
            raise unreadable(self.where, error) from error


def unreadable(where: str, error: BaseException) -> UserError:
    """What to tell of data that a library cannot read."""
    return UserError(f"data: {where} cannot be read: {in_one_line(error)}")


def in_one_line(error: BaseException) -> str:
    """An error's message, cut where it becomes long."""
    told = " ".join(str(error).split()) or type(error).__name__
    return told if len(told) <= 300 else f"{told[:300]}..."
