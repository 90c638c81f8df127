"""JSON Lines, and a JSON file that is one list: read by msgspec, so that an absent key stays absent.

The invariant: every line has been found to be a whole JSON object before the first row is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from rollway.data.tables import CHUNK_ROWS, ID, Survey, in_one_line, unreadable
from rollway.errors import UserError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Glance(msgspec.Struct):
    task_id: Any = msgspec.UNSET


_GLANCES = msgspec.json.Decoder(_Glance)
_ROWS = msgspec.json.Decoder(dict[str, Any])


class LinesTable:
    """Files with one JSON object a line. Blank lines are no rows."""

    def __init__(self, where: str, files: Sequence[Path]) -> None:
        self.where = where
        self._files = files

    def survey(self, limit: int | None) -> Survey:
        ids: list[list[Any]] = [[]]
        count = 0
        first: msgspec.UnsetType | Any = msgspec.UNSET
        for file, number, line in islice(_lines(self._files), limit):
            task_id = _decoded(_GLANCES, file, number, line).task_id
            if count == 0:
                first = task_id
            elif (task_id is msgspec.UNSET) != (first is msgspec.UNSET):
                lacking = (
                    "no task_id, and the first has"
                    if task_id is msgspec.UNSET
                    else "a task_id, and the first has none"
                )
                raise UserError(
                    f"data: {file}, line {number}: the row has {lacking}; give every row one, or none"
                )
            if first is not msgspec.UNSET:
                if len(ids[-1]) == CHUNK_ROWS:
                    ids.append([])
                ids[-1].append(task_id)
            count += 1
        return Survey(count, None if first is msgspec.UNSET else iter(ids))

    def chunks(self) -> Iterator[tuple[int, Callable[[], list[dict[str, Any]]]]]:
        lines = _lines(self._files)
        while chunk := list(islice(lines, CHUNK_ROWS)):
            yield len(chunk), partial(_rows, chunk)


class ListTable:
    """Rows that were read already."""

    def __init__(self, where: str, rows: list[dict[str, Any]]) -> None:
        self.where = where
        self._rows = rows

    def survey(self, limit: int | None) -> Survey:
        rows = self._rows[:limit]
        has_ids = bool(rows) and ID in rows[0]
        for number, row in enumerate(rows, 1):
            if (ID in row) != has_ids:
                raise UserError(
                    f"data: {self.where}: rows 1 and {number}: one has a task_id and the other none; give "
                    f"every row one, or none"
                )
        return Survey(len(rows), iter([[row[ID] for row in rows]]) if has_ids else None)

    def chunks(self) -> Iterator[tuple[int, Callable[[], list[dict[str, Any]]]]]:
        yield len(self._rows), lambda: [dict(row) for row in self._rows]


def json_table(where: str, files: Sequence[Path]) -> LinesTable | ListTable:
    """Files that end in ``.json``: each one list of objects, or one object a line.

    Raises:
        UserError: one cannot be read.
    """
    if not all(_begins_with_bracket(file) for file in files):
        return LinesTable(where, files)
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            rows += msgspec.json.decode(
                file.read_bytes().removeprefix(BYTE_ORDER_MARK), type=list[dict[str, Any]]
            )
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError(f"data: {file} is no list of JSON objects: {in_one_line(error)}") from None
    return ListTable(where, rows)


def _begins_with_bracket(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(64).removeprefix(BYTE_ORDER_MARK).lstrip()[:1] == b"["
    except OSError as error:
        raise unreadable(str(file), error) from None


def _lines(files: Sequence[Path]) -> Iterator[tuple[Path, int, bytes]]:
    """Each line that is not blank, with its file and its number from 1."""
    for file in files:
        try:
            with file.open("rb") as opened:
                for number, line in enumerate(opened, 1):
                    text = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                    if not text.isspace() and text:
                        yield file, number, text
        except OSError as error:
            raise unreadable(str(file), error) from None


def _rows(lines: Sequence[tuple[Path, int, bytes]]) -> list[dict[str, Any]]:
    return [_decoded(_ROWS, *line) for line in lines]


def _decoded(decoder: msgspec.json.Decoder[Any], file: Path, number: int, line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        torn = "" if line.endswith(b"\n") else " (the file's last line has no end: was it cut?)"
        raise UserError(
            f"data: {file}, line {number} is no JSON object: {in_one_line(error)}{torn}"
        ) from None
