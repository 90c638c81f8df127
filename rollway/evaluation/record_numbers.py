"""The values that an environment's code puts into a record by hand: numbers, metadata, messages of errors.

The invariant: what is written is read back. JSON has no NaN, and a value that it cannot say would make the
line of its rollout, and with it the run, unreadable; it never costs the rollout its score.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from rollway.plain_values import plain, printable
from rollway.scoring.rewards import as_number
from rollway.trajectory import ErrorRecord, Trajectory

VALUES_ERROR = "values_error"
"""Where metadata says what of it was left out."""

_log = logging.getLogger(__name__)


def settle_numbers(record: Trajectory) -> None:
    """Make metadata plain values, and metrics and rewards finite floats.

    What metadata cannot hold is left out by itself and noted in ``metadata["values_error"]``, a metric that
    cannot be a number in ``metadata["metrics_error"]``; both are logged. A reward that cannot be one leaves
    the rollout unscored.
    """
    _settle_metadata(record)
    wrong = _settle(record, "metrics")
    if wrong:
        told = f"left out as not finite: {', '.join(wrong)}"
        record.metadata["metrics_error"] = told
        _log.warning("metrics of task %r %s", record.task_id, told)
    wrong = _settle(record, "rewards")
    if record.reward is not None:
        total = _number(record.reward)
        if total is None:
            wrong.append(f"reward={_shown(record.reward)}")
        record.reward = total
    if wrong:
        record.reward = None
        told = f"not finite: {', '.join(wrong)}"
        record.error = record.error or ErrorRecord(kind="TypeError", message=told, where="reward:")
    if record.error is not None:
        record.error = _printable_error(record.error)


def _settle_metadata(record: Trajectory) -> None:
    if type(record.metadata) is dict and not record.metadata:
        return
    made, lost = plain(record.metadata, "metadata")
    if not isinstance(made, dict):
        lost, made = [f"metadata: it is {_shown(record.metadata)}, not a dict"], {}
    record.metadata = made
    if lost:
        told = f"not stored as it is: {'; '.join(lost)}"
        record.metadata[VALUES_ERROR] = told
        _log.warning("of task %r, %s", record.task_id, told)


def _settle(record: Trajectory, field: str) -> list[str]:
    """Make the values of a field floats, take out those that cannot be, and name these."""
    values: Any = getattr(record, field)
    if not isinstance(values, Mapping):
        setattr(record, field, {})
        return [f"{field}={_shown(values)}"]
    wrong = []
    numbers = {}
    for name, value in values.items():
        number = _number(value)
        if number is None:
            wrong.append(f"{name}={_shown(value)}")
        else:
            numbers[printable(str(name))] = number
    setattr(record, field, numbers)
    return wrong


def _number(value: Any) -> float | None:
    try:
        return as_number(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _printable_error(error: ErrorRecord) -> ErrorRecord:
    texts = {name: getattr(error, name) for name in ("kind", "message", "where", "traceback")}
    changed = {name: printable(text) for name, text in texts.items() if isinstance(text, str)}
    return msgspec.structs.replace(error, **changed)


def _shown(value: Any) -> str:
    return printable(repr(value)[:80])
