"""A record tells whose fault it is that a rollout has no score, and whether it may go better elsewhere."""

from __future__ import annotations

import pytest

from rollway.evaluation.whose_fault import ELSEWHERE, Fault, fault_of
from rollway.trajectory import ErrorRecord, StopReason, Trajectory

MODEL, ENVIRONMENT = StopReason.MODEL_ERROR, StopReason.ENVIRONMENT_ERROR


def record(
    reason: StopReason | None, kind: str = "", where: str = "", reward: float | None = None
) -> Trajectory:
    error = ErrorRecord(kind, "told", where) if kind else None
    return Trajectory(id="1", messages=[], stop_reason=reason, reward=reward, error=error)


@pytest.mark.parametrize(
    ("reason", "kind", "where", "fault"),
    [
        (MODEL, "ServerUnreachable", "model", Fault.SERVER),
        (MODEL, "ServerOverloaded", "model", Fault.SERVER),
        (MODEL, "InvalidReply", "model", Fault.SERVER),
        (MODEL, "NoReplyInTime", "model", Fault.SERVER),
        (MODEL, "ServerAborted", "model", Fault.SERVER),
        (MODEL, "BadRequest", "model", Fault.REFUSED),
        (MODEL, "ModelNotFound", "model", Fault.REFUSED),
        (ENVIRONMENT, "SandboxError", "sandbox", Fault.SANDBOX),
        (ENVIRONMENT, "KeyError", "environment", Fault.ENVIRONMENT),
        (ENVIRONMENT, "OSError", "tools", Fault.ENVIRONMENT),
        (ENVIRONMENT, "UserError", "environment", Fault.USER),
        (ENVIRONMENT, "PoolStarved", "tools", Fault.WORKER),
        (ENVIRONMENT, "WorkerDied", "worker", Fault.WORKER),
        (ENVIRONMENT, "JobFault", "worker", Fault.WORKER),
        (ENVIRONMENT, "TypeError", "engine", Fault.ENGINE),
        (StopReason.COMPLETED, "ValueError", "reward:exact", Fault.REWARD),
        (StopReason.TIMEOUT, "TimeoutError", "reward:timeout", Fault.REWARD),
        (StopReason.CANCELLED, "", "", Fault.CANCELLED),
        (StopReason.SUSPENDED, "", "", Fault.CANCELLED),
        (MODEL, "", "", Fault.OTHER),
        (None, "", "", Fault.OTHER),
    ],
)
def test_the_fault_follows_from_the_record(
    reason: StopReason | None, kind: str, where: str, fault: Fault
) -> None:
    assert fault_of(record(reason, kind, where)) is fault


@pytest.mark.parametrize("reason", [StopReason.COMPLETED, StopReason.TIMEOUT, StopReason.CONTEXT_OVERFLOW])
def test_a_scored_rollout_is_nobodys_fault(reason: StopReason) -> None:
    assert fault_of(record(reason, reward=0.0)) is None
    assert fault_of(record(reason)) is None


def test_what_the_request_the_task_or_the_reward_is_at_fault_for_is_not_tried_elsewhere() -> None:
    assert set(Fault) - ELSEWHERE == {Fault.REFUSED, Fault.REWARD, Fault.USER, Fault.CANCELLED, Fault.OTHER}
