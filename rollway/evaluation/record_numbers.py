"""The numbers that an environment's code puts into a record by hand.

The invariant: what is written is read back. JSON has no NaN, and a number that is none would make the line of
its rollout, and with it the run, unreadable.
"""

from __future__ import annotations

import logging
from typing import Any

from rollway.scoring.rewards import as_number
from rollway.trajectory import ErrorRecord, Trajectory

_log = logging.getLogger(__name__)


def settle_numbers(record: Trajectory) -> None:
    """Make metrics and rewards finite floats. A metric that cannot be one is left out and noted in
    ``metadata["metrics_error"]``; a reward that cannot be one leaves the rollout unscored."""
    wrong = _settle(record.metrics)
    if wrong:
        told = f"left out as not finite: {', '.join(wrong)}"
        record.metadata["metrics_error"] = told
        _log.warning("metrics of task %r %s", record.task_id, told)
    wrong = _settle(record.rewards)
    if record.reward is not None:
        total = _number(record.reward)
        if total is None:
            wrong.append(f"reward={_shown(record.reward)}")
        record.reward = total
    if wrong:
        record.reward = None
        told = f"not finite: {', '.join(wrong)}"
        record.error = record.error or ErrorRecord(kind="TypeError", message=told, where="reward:")


def _settle(numbers: dict[str, float]) -> list[str]:
    """Make the values floats, take out those that cannot be, and name these."""
    wrong = []
    for name, value in list(numbers.items()):
        number = _number(value)
        if number is None:
            wrong.append(f"{name}={_shown(value)}")
            del numbers[name]
        else:
            numbers[name] = number
    return wrong


def _number(value: Any) -> float | None:
    try:
        return as_number(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(value: Any) -> str:
    return repr(value)[:80]
