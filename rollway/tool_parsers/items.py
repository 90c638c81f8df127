"""The items of a block of calls, one by one, and how they enter the draft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.json_calls import Call, Fault


class Item(NamedTuple):
    """One item of a list: where it stands and what it says."""

    start: int
    end: int
    found: list[Call] | Fault
    last: bool = False  # nothing behind it can be read


def settle(draft: Draft, start: int, end: int, found: list[Call] | Fault) -> None:
    """``text[start:end]`` is one item: its calls, or its fault."""
    if isinstance(found, Fault):
        draft.reject(start, end, found.kind, found.message, name=found.name)
        return
    for call in found:
        draft.call(start, end, call.name, call.arguments, id=call.id, repaired=call.repaired)
        start = end
    if not found:
        draft.drop(start, end)


def settle_list(draft: Draft, start: int, end: int, items: Sequence[Item]) -> None:
    """``text[start:end]`` is a list: cut out its calls and its punctuation, leave what is rejected in place.

    A list without any call stays whole, unless it is empty.
    """
    if not any(isinstance(item.found, list) for item in items):
        if not items:
            draft.drop(start, end)
        elif len(items) == 1:
            settle(draft, start, end, items[0].found)
        else:
            for item in items:
                settle(draft, item.start, item.end, item.found)
        return
    for item in items:
        if isinstance(item.found, Fault):
            draft.drop(start, item.start)
            settle(draft, item.start, item.end, item.found)
        else:
            settle(draft, start, item.end, item.found)
        start = item.end
    draft.drop(start, end)
