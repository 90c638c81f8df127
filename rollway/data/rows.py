"""The rows of a table as tasks: each has a ``task_id``, its own or one made from its content.

The invariant: ids are whole before the first row is used where the table has them (each a text or a whole
number, no two the same); where it has none they are made while the rows are read, so that a run over a
million rows begins at once. At most one chunk of rows is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from functools import cached_property, partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

from rollway.data.content_ids import ContentIds
from rollway.data.tables import ID, Survey, Table
from rollway.errors import UserError

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, Any]


class DataRows:
    """The first ``limit`` rows of a table, or all of them, as tasks. Each pass reads them anew.

    Whatever needs their number or ids raises a ``UserError`` where they cannot be read, an id is none, or two
    rows have the same.
    """

    def __init__(self, table: Table, limit: int | None = None) -> None:
        self.where = table.where
        self._table = table
        self._limit = limit

    def __len__(self) -> int:
        return self._survey.count

    @cached_property
    def _survey(self) -> Survey:
        return self._table.survey(self._limit)

    @cached_property
    def _ids(self) -> pyarrow.ChunkedArray | None:
        found = self._survey
        return None if found.ids is None else _checked(found.ids, found.count, self.where)

    def __iter__(self) -> Iterator[Row]:
        return (read() for _, read in self.entries(lambda task_id: True))

    def head(self, limit: int) -> DataRows:
        """The first ``limit`` rows."""
        return DataRows(self._table, limit)

    def ids(self) -> Iterator[str]:
        """The ids in order. Where they are made from the rows' content, all rows are read."""
        if self._ids is None:
            yield from (task_id for task_id, _ in self.entries(lambda task_id: True))
            return
        for chunk in self._ids.iterchunks():
            yield from chunk.to_pylist()

    def given_ids(self) -> Set[str] | None:
        """The ids that the table itself has; None: they are made from the rows' content."""
        return None if self._ids is None else frozenset(self.ids())

    def entries(self, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, Callable[[], Row]]]:
        """The ids that are wanted, in order, and what gives their rows. Where the table has the ids, a chunk
        without any that is wanted is not made to rows.

        Raises:
            UserError: the rows cannot be read.
        """
        number = _made_ids() if self._ids is None else _given_ids(self.ids())
        left = len(self)
        for size, read in self._table.chunks():
            size = min(size, left)
            left -= size
            for task_id, row in number(size, read, is_wanted):
                row[ID] = task_id
                yield task_id, partial(dict, row)
            if not left:
                return
        if left:
            raise UserError(f"data: {self.where} has {left} rows less than when the run began")


_Read = Callable[[], list[Row]]
_Numbering = Callable[[int, _Read, Callable[[str], bool]], Iterator[tuple[str, Row]]]


def _given_ids(ids: Iterator[str]) -> _Numbering:
    def number(size: int, read: _Read, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, Row]]:
        own = [next(ids) for _ in range(size)]
        if any(map(is_wanted, own)):
            yield from (pair for pair in zip(own, read(), strict=False) if is_wanted(pair[0]))

    return number


def _made_ids() -> _Numbering:
    made = ContentIds()

    def number(size: int, read: _Read, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, Row]]:
        for row in read()[:size]:
            task_id = made.of(row)
            if is_wanted(task_id):
                yield task_id, row

    return number


def _checked(chunks: Iterator[Sequence[Any]], count: int, where: str) -> pyarrow.ChunkedArray:
    """A column of ids as texts, found to be such."""
    import pyarrow
    import pyarrow.compute

    arrays, number = [], 0
    for chunk in chunks:
        texts: list[str] = []
        for value in chunk[: count - number]:
            if not is_id(value):
                raise UserError(
                    f"data: {where}: row {number + len(texts) + 1} has the task_id {value!r}; give each row "
                    f"a 'task_id' that is a text or a whole number and never changes, or leave the column out"
                )
            texts.append(str(value))
        arrays.append(pyarrow.array(texts, pyarrow.string()))
        number += len(texts)
        if number == count:
            break
    ids = pyarrow.chunked_array(arrays, pyarrow.string())
    if pyarrow.compute.count_distinct(ids).as_py() != len(ids):
        counts = pyarrow.compute.value_counts(ids)
        twice = next(pair for pair in counts.to_pylist() if pair["counts"] > 1)
        raise UserError(
            f"data: {where}: {twice['counts']} rows have the task_id {twice['values']!r}; each needs its own"
        )
    return ids


def is_id(value: Any) -> bool:
    """Can ``value`` be a task's id: a text that can be written, or a whole number?"""
    if isinstance(value, str):
        return value != "" and (
            value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
        )
    return isinstance(value, Integral) and not isinstance(value, bool)  # NumPy's, too
