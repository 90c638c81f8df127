"""What a rollout's tools had for themselves, in its record: their notes, and their random numbers.

The invariant: another process that goes on with the record gives the tools what they had. What no record can
hold is named, and not made up.
"""

from __future__ import annotations

import base64
import random
import struct
from typing import Any

import msgspec

from rollway.tools.context import RolloutContext
from rollway.trajectory import ToolState

MOST_NOTES = 2**20
"""Bytes of JSON that one note may take in a record."""

_WORDS = 625  # of the state of a `random.Random`: 624 of 32 bits, and where in them it is


def random_mark(source: random.Random) -> int:
    """A number that differs where numbers have been drawn in between."""
    return hash(source.getstate())


def saved_state(context: RolloutContext, mark: int | None, before: ToolState | None) -> ToolState | None:
    """What is there now; ``None``: the tools kept nothing for themselves.

    ``mark`` is the `random_mark` of the rollout's beginning, None where there are no tools to draw numbers;
    ``before`` what the record held then.
    """
    notes, lost = _plain_notes(context.notes)
    drawn = mark is not None and random_mark(context.random) != mark
    state = _written(context.random) if drawn else (before.random if before is not None else None)
    return ToolState(notes, state, lost) if notes or state or lost else None


def restore(state: ToolState | None, context: RolloutContext) -> None:
    """Give the tools what they had. Notes that the context has already are newer, and stay."""
    if state is None:
        return
    for name, note in state.notes.items():
        context.notes.setdefault(name, note)
    if state.random is not None:
        words = struct.unpack(f"<{_WORDS}I", base64.b64decode(state.random))
        context.random.setstate((3, tuple(words), None))


def _written(source: random.Random) -> str:
    version, words, _ = source.getstate()
    assert version == 3
    return base64.b64encode(struct.pack(f"<{_WORDS}I", *words)).decode()


def _plain_notes(notes: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    plain, lost = {}, []
    for name, note in notes.items():
        try:
            content = msgspec.json.encode(note)
            if len(content) > MOST_NOTES:
                raise ValueError
            plain[str(name)] = msgspec.json.decode(content)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            lost.append(str(name))
    return plain, lost
