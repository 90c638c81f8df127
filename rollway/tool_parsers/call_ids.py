"""Ids of calls that are given a new one, because another call of the rollout has theirs.

A new id keeps the form of its family: templates write ids into the prompt, servers check them, and models
copy what they are shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container

_COUNTED = re.compile(r"(?P<stem>.*[:_.\-])?(?P<number>\d{1,6})", re.DOTALL)
"""``functions.look_up:0``, ``call_0_1``, ``tool-7``, ``0``: an id that ends with a number of its own."""

_SHORTEST_RANDOM = 9  # Mistral's; where fewer letters or digits end an id, they may mean something
_RANDOM_END = re.compile(r"[^\W_]+\Z")
_NUMBERED_APART = re.compile(r"(?P<id>functions\..+:\d+)_\d+\Z", re.DOTALL)


def renamed(call_id: str, used: Container[str]) -> str:
    """The next id of the same form that is not ``used``."""
    counted = _COUNTED.fullmatch(call_id)
    if counted is not None:
        stem, number = counted["stem"] or "", int(counted["number"])
        apart = _NUMBERED_APART.match(call_id)  # the form of earlier records: functions.look_up:0_2
        if apart is not None:
            return renamed(apart["id"], used)
        return _first_free(lambda more: f"{stem}{number + more}", used)
    end = _RANDOM_END.search(call_id)
    if end is not None and len(end[0]) >= _SHORTEST_RANDOM:
        return _first_free(lambda more: _with_end(call_id, str(more + 1)), used)
    return _first_free(lambda more: f"{call_id}_{more + 1}", used)


def _with_end(call_id: str, number: str) -> str:
    return call_id[: len(call_id) - len(number)] + number


def _first_free(candidate: Callable[[int], str], used: Container[str]) -> str:
    more = 1
    while (found := candidate(more)) in used:
        more += 1
    return found
