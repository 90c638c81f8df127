"""What a run has on record when its driver begins: what is done, is to be done again, or does not count.

The invariant: a line stays where it is when it is whole, asked for, and says most of its key's; every other
has a reason that can be told. A rollout that is done again keeps its line until the replacement has landed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollway.errors import UserError
from rollway.keys import Key, KeySet
from rollway.stored.lines import (
    TORN,
    Standing,
    decode_ending,
    is_failed,
    part_files,
    standing,
    superseded_lines,
)


class Pending(NamedTuple):
    """The line of a rollout that is to be done again, or lacks only a score, and where it lies."""

    standing: Standing
    part: Path
    number: int  # of the line, 0-based
    offset: int  # bytes
    size: int  # bytes

    def read(self) -> bytes:
        """Raises `OSError` when it cannot be read."""
        with self.part.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class Stock(msgspec.Struct):
    """What is there."""

    done: KeySet  # on record for good
    pending: dict[Key, Pending] = {}
    aside: dict[Path, dict[int, str]] = {}  # the lines to be set aside, and why
    unasked: Key | None = None  # the first of those that say something and are not asked for


class Wanted(msgspec.Struct, frozen=True):
    """What a run asks of its records."""

    is_asked: Callable[[Key], bool]
    tasks: Iterable[str] = ()  # room is made for their keys
    scores: bool = False  # is a rollout without a score, in which nothing failed, to be scored?


def take_stock(path: Path, wanted: Wanted) -> Stock:
    """Read what is there, and write nothing.

    Raises:
        UserError: a part cannot be read.
    """
    parts = part_files(path)
    try:
        try:
            return _stock_of(parts, wanted, {})
        except _SeveralLines:
            # Half a line among others is set aside, too.
            return _stock_of(parts, wanted, superseded_lines(parts, skip_torn=True))
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror or error}") from None


class _SeveralLines(Exception):
    """A key has more than one line that is not known to be superseded."""


def _stock_of(parts: Iterable[Path], wanted: Wanted, superseded: Mapping[Path, Container[int]]) -> Stock:
    stock = Stock(KeySet(tasks=wanted.tasks))
    for part in parts:
        _look_through(part, stock, wanted, superseded.get(part, ()))
    return stock


def _look_through(part: Path, stock: Stock, wanted: Wanted, superseded: Container[int]) -> None:
    reasons: dict[int, str] = {}
    offset, line = 0, b"\n"
    with part.open("rb") as lines:
        for number, line in enumerate(lines):
            place = (part, number, offset, len(line))
            reason = _reason_to_set_aside(line, place, stock, wanted, superseded)
            if reason is not None:
                reasons[number] = reason
            offset += len(line)
    if reasons or not line.endswith(b"\n"):
        stock.aside[part] = reasons


def _reason_to_set_aside(
    line: bytes, place: tuple[Path, int, int, int], stock: Stock, wanted: Wanted, superseded: Container[int]
) -> str | None:
    """Why a stored line does not count; one that does is entered into ``stock``."""
    try:
        ending = decode_ending(line)
    except TORN:
        return f"a torn line of {len(line)} bytes is set aside; its rollout is retried"
    key = ending.key
    if place[1] in superseded:
        return f"rollout {key} has another line that counts; this one is set aside"
    if not wanted.is_asked(key):
        if stock.unasked is None and standing(ending) >= Standing.UNSCORED:
            stock.unasked = key
        return f"rollout {key} is not part of the run any more; the environment's tasks may have changed"
    if key in stock.done or key in stock.pending:
        raise _SeveralLines
    if is_failed(ending) or (wanted.scores and standing(ending) is Standing.UNSCORED):
        stock.pending[key] = Pending(standing(ending), *place)
    else:
        stock.done.add(key)
    return None
