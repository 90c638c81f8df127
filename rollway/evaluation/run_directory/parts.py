"""The parts: the files that a run's trajectories lie in, one line of JSON each.

The invariant: nothing that was on record is lost when a part is written anew: the new file is on the disk,
whole, before it takes the old one's place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rollway.errors import UserError
from rollway.stored.lines import TORN, counted_lines, part_files
from rollway.trajectory import Trajectory, decode_trajectory
from rollway.whole_files import taking_the_place_of

_NUMBERED = re.compile(r"part-(\d+)\.jsonl")


def next_part(path: Path) -> Path:
    """The part after the last one. It is not there yet."""
    taken = [_NUMBERED.fullmatch(part.name) for part in part_files(path)]
    number = max((int(match[1]) + 1 for match in taken if match), default=0)
    return path / "trajectories" / f"part-{number:05d}.jsonl"


def read_trajectories(path: Path | str) -> Iterator[Trajectory]:
    """The trajectories of a run directory, one at a time, each key once. A torn last line of a part is left
    out.

    Raises:
        UserError: another line is no trajectory.
    """
    for stored in counted_lines(part_files(Path(path))):
        try:
            yield decode_trajectory(stored.line)
        except TORN as error:
            if stored.line.endswith(b"\n"):
                told = f"{stored.part}, line {stored.number + 1}"
                raise UserError(f"{told}: not a trajectory: {error}") from None


def write_all(file: IO[bytes], data: bytes) -> None:
    """Write to a file without a buffer, which may take less than it is given."""
    while data:
        data = data[file.write(data) :]


def rewrite_part(part: Path, change: Callable[[bytes], bytes | None]) -> None:
    """Write the part anew from its first changed line on, and put it in the old one's place."""
    same = 0  # bytes before the first change
    with part.open("rb") as old:
        for line in old:
            kept = change(line)
            if kept != line:
                break
            same += len(line)
        else:
            return
        with taking_the_place_of(part) as new:
            _copy(part, new, same)
            new.write(kept or b"")
            for line in old:
                new.write(change(line) or b"")


def _copy(source: Path, target: IO[bytes], count: int) -> None:
    with source.open("rb") as file:
        while count > 0 and (block := file.read(min(count, 1 << 20))):
            target.write(block)
            count -= len(block)
