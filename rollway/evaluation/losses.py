"""What becomes of a rollout whose worker is gone: is it innocent, a suspect, or what ended the worker?

The invariant: a rollout is found guilty only when it ran alone. Suspects run apart from the others, in groups
that halve with each death.
"""

from __future__ import annotations

from enum import Enum

from rollway.evaluation.job_queue import Attempt
from rollway.evaluation.seat import EndKind, SeatEnd

SUSPECT_AFTER = 2
"""A job that was in flight at this many deaths runs apart from the others."""


class Loss(Enum):
    """What is done with a rollout that was lost."""

    AGAIN = "again"  # like any other
    SUSPECT = "suspect"  # again, apart
    GUILTY = "guilty"  # it has failed


def loss_of(attempt: Attempt, end: SeatEnd, concurrency: int) -> Loss:
    """Decide, and enter the death into the attempt. ``concurrency``: most rollouts in flight with it."""
    is_blocker = end.blocker == attempt.job.key
    if end.kind is EndKind.BAD or (end.blocker is not None and not is_blocker):
        return Loss.AGAIN
    attempt.deaths += 1
    if attempt.group == 1:
        return Loss.GUILTY
    if end.kind is EndKind.DIED and attempt.deaths < SUSPECT_AFTER:
        return Loss.AGAIN
    attempt.group = 1 if is_blocker else max(1, (attempt.group or concurrency) // 2)
    return Loss.SUSPECT
