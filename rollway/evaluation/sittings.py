"""The sittings of a run: each start in which rollouts ran, and how long it took.

The invariant: a sitting that was killed counts up to the last rollout that it put on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from rollway.evaluation.summary import read_summary
from rollway.stored.identity import Sitting, read_identity
from rollway.stored.lines import part_files


def earlier_sittings(run: Path) -> list[Sitting]:
    """Those that ended, however they ended. Of a run of an older version all are one, as long as its summary
    says, or of unknown length.

    Raises:
        UserError: what the run is of cannot be read.
    """
    identity = read_identity(run)
    if identity is None or not identity.sittings:
        return [Sitting(0.0, _seconds_in_summary(run))] if part_files(run) else []
    return [one if one.seconds is not None else _killed(run, one) for one in identity.sittings]


def seconds_of(sittings: Sequence[Sitting]) -> float | None:
    """Of all together; ``None`` when those of one are not known."""
    seconds = [one.seconds for one in sittings]
    return None if None in seconds else sum(one for one in seconds if one is not None)


def _killed(run: Path, sitting: Sitting) -> Sitting:
    if sitting.began == 0.0:  # of a run of an older version, before a sitting that was killed
        return sitting
    try:
        last = max((part.stat().st_mtime for part in part_files(run)), default=sitting.began)
    except OSError:
        return sitting
    return Sitting(sitting.began, max(0.0, last - sitting.began))


def _seconds_in_summary(run: Path) -> float | None:
    try:
        return read_summary(run / "summary.json").wall_seconds
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
