"""What came of one job, as it travels to the driver: a line to be stored, and what the driver looks at.

The invariant: the line is that of the job, and can be read back whatever a user's code did to the record, as
long as it left the lists of token ids and logprobs to the engine.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rollway.environments.base import Environment
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.rollout import new_trajectory, record_fault
from rollway.evaluation.run_directory import is_failed
from rollway.evaluation.tapes import Recorded
from rollway.evaluation.tasks import Job
from rollway.evaluation.whose_fault import Fault, fault_of
from rollway.keys import Key
from rollway.trajectory import StopReason, Trajectory, Turn, decode_trajectory, encode_trajectory

_UNFIT = (TypeError, ValueError, OverflowError, RecursionError, AttributeError, msgspec.MsgspecError)
"""What encoding a record raises, or reading it back, when its fields hold what they cannot."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one job."""

    line: bytes  # an encoded Trajectory
    stop_reason: StopReason | None
    failed: bool  # retried on resume
    reward: float | None
    completion_tokens: int
    error: str = ""  # "kind: message" of what ended it or kept it from being scored
    error_kind: str = ""
    fault: Fault | None = None  # whose fault it is that it has no score
    server: str = ""  # the model's, as far as the record names one
    recorded: Recorded | None = None  # its tool calls, where they are recorded
    exchanges: list[
        bytes
    ] = []  # its model calls as they went over the wire, where they are recorded; encoded


def begun_record(
    environment: Environment, job: Job, config: EvalConfig, *, worker: str = "", node: str = ""
) -> Trajectory:
    """The record of a job as its rollout begins on a worker, whose machine is ``node``."""
    record = new_trajectory(
        environment,
        job.task,
        sample_index=job.sample_index,
        seed=job.seed,
        group_id=job.task_id if config.groups else None,
        model=config.model.name or "",
    )
    record.task_id = job.task_id
    record.worker, record.node = worker, node
    return record


def outcome_of(record: Trajectory, key: Key, begun: Callable[[], Trajectory]) -> Outcome:
    """Encode a record and take out what the driver looks at.

    One that cannot be stored as the rollout ``key`` is recorded as a fault of the environment, in the record
    that ``begun`` makes: the one that the rollout began with. Its conversation is kept, where that can be.
    """
    try:
        return _readable(record, key)
    except _UNFIT as fault:
        try:
            return _readable(_faulty(begun(), fault, record), key)
        except _UNFIT:
            return _outcome(_faulty(begun(), fault))


def _faulty(begun: Trajectory, fault: BaseException, record: Trajectory | None = None) -> Trajectory:
    """The record of a rollout that ended in ``fault``, with the conversation of ``record``."""
    if record is not None:
        begun.messages, begun.turns = record.messages, record.turns
        begun.sequences, begun.tool_errors = record.sequences, record.tool_errors
    record_fault(begun, fault, where="environment")
    return begun


def _readable(record: Trajectory, key: Key) -> Outcome:
    """The outcome, once all of its line but the ids has been read back.

    Raises:
        ValueError and the others of `_UNFIT`: it cannot be, or is another rollout's.
    """
    found = decode_trajectory(encode_trajectory(_without_ids(record)))
    if (found.task_id, found.sample_index) != key:
        raise ValueError(
            f"the environment's code changed rollout {key} to {(found.task_id, found.sample_index)}: "
            f"do not change task_id or sample_index of a record"
        )
    return _outcome(record)


def _without_ids(record: Trajectory) -> Trajectory:
    """The record without the lists of ids and what stands beside each id, which are nearly all of a line."""
    replace = msgspec.structs.replace
    turns = [replace(turn, prompt_token_ids=None, token_ids=None, logprobs=None) for turn in record.turns]
    sequences = [
        replace(one, token_ids=[], loss_mask=[], turn_index=[], logprobs=None, weight_versions=None)
        for one in record.sequences
    ]
    return replace(record, turns=turns, sequences=sequences)


def _outcome(record: Trajectory) -> Outcome:
    error = record.error
    return Outcome(
        line=encode_trajectory(record),
        stop_reason=record.stop_reason,
        failed=is_failed(record),
        reward=record.reward,
        completion_tokens=sum(_sampled(turn) for turn in record.turns),
        error=f"{error.kind}: {error.message}" if error else "",
        error_kind=error.kind if error else "",
        fault=fault_of(record),
        server=_server(record),
    )


def _server(record: Trajectory) -> str:
    """The one that was asked last."""
    asked = [call.server for call in record.calls] + [turn.server for turn in record.turns]
    return next((server for server in reversed(asked) if server), "")


def _sampled(turn: Turn) -> int:
    return len(turn.token_ids) if turn.token_ids is not None else turn.usage.completion_tokens
