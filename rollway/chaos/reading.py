"""A run folder as it lies on the disk, read with nothing of the engine's: bytes, lines, JSON.

The invariant: nothing is left out. A line that is no JSON object is counted, not skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]


class RunFolder(NamedTuple):
    """What a run left."""

    records: list[Record]  # lines of the trajectories, in order
    torn: list[str]  # where lines are that are no whole JSON object
    failures: list[Record]  # attempts that came to nothing, as far as the run keeps them
    set_aside: list[Record]  # lines that were taken out of the trajectories
    summary: Record  # empty where there is none


def read_run(path: Path) -> RunFolder:
    """Read a run folder; one that is not there is empty."""
    records: list[Record] = []
    torn: list[str] = []
    for part in sorted((path / "trajectories").glob("*.jsonl")):
        found, bad = _lines(part)
        records += found
        torn += bad
    set_aside, _ = _lines(path / "set_aside.jsonl")
    attempts, _ = _lines(path / "attempts.jsonl")
    file = path / "summary.json"
    summary = json.loads(file.read_text()) if file.exists() else {}
    return RunFolder(records, torn, attempts or set_aside, set_aside, summary)


def _lines(path: Path) -> tuple[list[Record], list[str]]:
    records, torn = [], []
    for number, line in enumerate(_raw(path), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and line.endswith(b"\n"):
            records.append(record)
        else:
            torn.append(f"{path.name}, line {number}")
    return records, torn


def _raw(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            yield from file


class LineCount:
    """How many lines a run's trajectories have by now; each look reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._folder = path / "trajectories"
        self._seen: dict[Path, tuple[int, int]] = {}  # bytes and lines of each part

    def __call__(self) -> int:
        for part in self._folder.glob("*.jsonl"):
            size, lines = self._seen.get(part, (0, 0))
            if part.stat().st_size < size:  # it was written anew, without what is done again
                size = lines = 0
            with part.open("rb") as file:
                file.seek(size)
                new = file.read()
            self._seen[part] = size + len(new), lines + new.count(b"\n")
        return sum(lines for _, lines in self._seen.values())
