"""Whose fault it is that a rollout has no score, and whether it may go better at another time or place.

The invariant: the class of a fault hangs on nothing but the record, so that it is the same on a worker, in
the driver and when a run is resumed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from rollway.trajectory import FAILURES, ErrorRecord, StopReason


class Fault(StrEnum):
    """Who kept a rollout from its score."""

    SERVER = "server"  # it cannot be reached, is overloaded, answers nothing in time, or what is no reply
    REFUSED = "refused"  # the server refuses the request as it stands, as any other would
    SANDBOX = "sandbox"  # it does not start, or was lost
    ENVIRONMENT = "environment"  # a hook raised, or the machine below a tool had run out
    REWARD = "reward"  # only the score is lacking
    WORKER = "worker"  # its process died, or had no thread left for a tool
    ENGINE = "engine"  # an exception of Rollway's own
    USER = "user"  # a mistake in the task or the configuration
    CANCELLED = "cancelled"  # it was told to stop
    OTHER = "other"  # the record does not say


ELSEWHERE = frozenset({Fault.SERVER, Fault.SANDBOX, Fault.ENVIRONMENT, Fault.WORKER, Fault.ENGINE})
"""Faults with a place: the rollout may go better at another time, or on another worker."""

_REFUSED = frozenset({"BadRequest", "ModelNotFound", "ContextOverflow"})
_WORKERS_OWN = frozenset({"PoolStarved", "PoolClosed", "WorkerDied"})
_REWARD = "reward:"
_BY_PLACE = {"model": Fault.SERVER, "sandbox": Fault.SANDBOX, "worker": Fault.WORKER, "engine": Fault.ENGINE}


class Ended(Protocol):
    """What is looked at: a trajectory, or the few fields of a stored line."""

    @property
    def stop_reason(self) -> StopReason | None: ...

    @property
    def reward(self) -> float | None: ...

    @property
    def error(self) -> ErrorRecord | None: ...


def fault_of(record: Ended) -> Fault | None:
    """Who kept this rollout from its score; ``None``: it has one, or there was nothing to score it."""
    error, reason = record.error, record.stop_reason
    if reason in (StopReason.CANCELLED, StopReason.SUSPENDED):
        return Fault.CANCELLED
    if reason is not None and reason not in FAILURES:
        return Fault.REWARD if record.reward is None and error is not None else None
    return Fault.OTHER if error is None else _fault_of_error(error)


def _fault_of_error(error: ErrorRecord) -> Fault:
    if error.kind == "UserError":
        return Fault.USER
    if error.kind in _REFUSED:
        return Fault.REFUSED
    if error.kind in _WORKERS_OWN:
        return Fault.WORKER
    if error.where.startswith(_REWARD):
        return Fault.REWARD
    return _BY_PLACE.get(error.where, Fault.ENVIRONMENT)
