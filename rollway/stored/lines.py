"""The lines of a run's trajectories: how each rollout ended, and which line counts where a key has several.

The invariant: every reader counts each key once, whenever it looks. A retried rollout's line stays until its
replacement stands behind it, so a driver that is killed in between leaves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path

import msgspec

from rollway.errors import UserError
from rollway.keys import Key, KeySet
from rollway.trajectory import FAILURES, ErrorRecord, StopReason, Trajectory

TORN = (msgspec.DecodeError, UnicodeDecodeError)
"""What decoding a torn line raises."""

REWARD_ERROR = "reward:"
"""How ``error.where`` begins when a reward function failed; the function's name follows."""


class Ending(msgspec.Struct):
    """The fields of a stored line that say how its rollout ended."""

    id: str
    task_id: str = ""
    sample_index: int = 0
    stop_reason: StopReason | None = None
    reward: float | None = None
    error: ErrorRecord | None = None

    @property
    def key(self) -> Key:
        return (self.task_id, self.sample_index)


class Standing(IntEnum):
    """How much the record of a rollout says, from least to most."""

    INTERRUPTED = 0  # it was not brought to its end
    FAILED = 1  # a fault ended it
    UNSCORED = 2  # it is whole, and lacks only a score
    SCORED = 3


class StoredLine(msgspec.Struct, frozen=True):
    """One line of a part, and how its rollout ended."""

    part: Path
    number: int  # 0-based
    line: bytes
    ending: Ending


_DECODER = msgspec.json.Decoder(Ending)


def decode_ending(line: bytes) -> Ending:
    """How the rollout of a stored line ended.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: the line is torn.
    """
    return _DECODER.decode(line)


def is_failed(ending: Ending | Trajectory) -> bool:
    """Did the rollout end without saying anything about the policy, or its reward function raise?"""
    unscored = ending.reward is None and ending.error is not None
    return ending.stop_reason is None or ending.stop_reason in FAILURES or unscored


def standing(ending: Ending | Trajectory) -> Standing:
    """How much the record says."""
    if ending.stop_reason in (None, StopReason.CANCELLED):
        return Standing.INTERRUPTED
    if ending.stop_reason in FAILURES:
        return Standing.FAILED
    if ending.reward is not None:
        return Standing.SCORED
    error = ending.error
    lacks_only_score = error is None or error.where.startswith(REWARD_ERROR)
    return Standing.UNSCORED if lacks_only_score else Standing.FAILED


def part_files(path: Path) -> list[Path]:
    """The files with a run's trajectories, in the order in which they were written."""
    return sorted((path / "trajectories").glob("*.jsonl"))


def all_lines(
    parts: Iterable[Path],
    *,
    on_torn: Callable[[Path], None] = lambda part: None,
    skip_torn: bool = False,
) -> Iterator[StoredLine]:
    """Every whole line, in the order of the files. A torn last line of a part is told and left out.

    Raises:
        UserError: another line is no trajectory, and they are not to be skipped as well.
    """
    for part in parts:
        with part.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    ending = decode_ending(line)
                except TORN as error:
                    if line.endswith(b"\n") and not skip_torn:
                        raise UserError(f"{part}, line {number + 1}: not a trajectory: {error}") from None
                    on_torn(part)  # the driver that was writing it went on, if at all, with the next part
                    continue
                yield StoredLine(part, number, line, ending)


def counted_lines(
    parts: Sequence[Path], *, on_torn: Callable[[Path], None] = lambda part: None
) -> Iterator[StoredLine]:
    """`all_lines`, without those that another line of their key counts instead of.

    The others are looked for at the first line without a score: a run in which nothing failed has none.
    """
    superseded: dict[Path, set[int]] | None = None
    for stored in all_lines(parts, on_torn=on_torn):
        if standing(stored.ending) is not Standing.SCORED:
            if superseded is None:
                superseded = superseded_lines(parts)
            if stored.number in superseded.get(stored.part, ()):
                continue
        yield stored


def superseded_lines(parts: Sequence[Path], *, skip_torn: bool = False) -> dict[Path, set[int]]:
    """The numbers of the lines that do not count because another of their key does.

    Of a key's lines the first with a score counts; where none has one, the last of those that say most.

    Raises:
        UserError: as `all_lines`.
    """
    several = _keys_with_several_lines(all_lines(parts, skip_torn=skip_torn))
    superseded: dict[Path, set[int]] = {}
    if not several:
        return superseded
    best: dict[Key, tuple[Standing, Path, int]] = {}
    for stored in all_lines(parts, skip_torn=skip_torn):
        key = stored.ending.key
        if key not in several:
            continue
        here = (standing(stored.ending), stored.part, stored.number)
        before = best.get(key)
        if before is None:
            best[key] = here
            continue
        keeps = before[0] > here[0] or before[0] is Standing.SCORED
        _, part, number = here if keeps else before
        superseded.setdefault(part, set()).add(number)
        if not keeps:
            best[key] = here
    return superseded


def _keys_with_several_lines(lines: Iterable[StoredLine]) -> KeySet:
    once, several = KeySet(), KeySet()
    for stored in lines:
        key = stored.ending.key
        if key[1] >= 0:  # no other is the engine's
            (several if key in once else once).add(key)
    return several
