"""Going on with a record: whether that may be, and what of it belongs to the whole.

The invariant: a record says of itself what is true of all its sittings, and a finished one is not run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rollway.agent_loop.deadlines import TimeLeft
from rollway.agent_loop.stopping import reached_limit
from rollway.errors import UserError
from rollway.limits import Limits
from rollway.trajectory import FAILURES, Message, StopReason, Trajectory, TrajectoryTiming, Turn

_DECIDED = (StopReason.TOOL_STOPPED, StopReason.ENVIRONMENT_DONE)
_LIMITS = (StopReason.MAX_TURNS, StopReason.MAX_TOKENS, StopReason.TIMEOUT)
_OF_AN_END = ("context_overflow", "empty_response")  # what `metadata` tells of how a sitting ended

_running: set[int] = set()
"""The ids of the records that are being run in this process: of objects that are alive for as long."""


@contextmanager
def being_run(trajectory: Trajectory) -> Iterator[None]:
    """Nobody else may run the record meanwhile.

    Raises:
        UserError: somebody does.
    """
    if id(trajectory) in _running:
        raise UserError(
            f"trajectory {trajectory.id!r} is being run; wait for that, or run a branch of it "
            "(rollway.branching.branch)"
        )
    _running.add(id(trajectory))
    try:
        yield
    finally:
        _running.discard(id(trajectory))


def refuse_finished(trajectory: Trajectory, messages: Sequence[Message], limits: Limits, tokens: int) -> None:
    """See that there is something to go on with. ``tokens`` is how many its turns sampled.

    Raises:
        UserError: the record is finished, and nothing is added to it.
    """
    reason = trajectory.stop_reason
    if not trajectory.turns or reason is None or reason in FAILURES:
        return
    if len(messages) > len(trajectory.messages):
        return
    told = f"trajectory {trajectory.id!r} is finished ({reason}), and nothing is added to it"
    if reason in _LIMITS and _is_used_up(trajectory, limits, tokens):
        raise UserError(f"{told}: add a message to go on with it, or raise the limit")
    if reason in _DECIDED or trajectory.messages[-1].get("role") == "assistant":
        raise UserError(f"{told}: add a message to go on with it, or branch from an earlier turn")


def _is_used_up(trajectory: Trajectory, limits: Limits, tokens: int) -> bool:
    budget = limits.max_completion_tokens
    left = None if budget is None else budget - tokens
    if reached_limit(limits, turns=len(trajectory.turns), tokens_left=left) is not None:
        return True
    return 0.0 in seconds_left(limits, trajectory.timing)


def forget_end(trajectory: Trajectory) -> None:
    """Take away what the record says of its end and of its score: neither is true of what it becomes."""
    trajectory.stop_reason, trajectory.error = None, None
    trajectory.rewards, trajectory.reward, trajectory.advantage = {}, None, None
    for name in _OF_AN_END:
        trajectory.metadata.pop(name, None)


def seconds_left(limits: Limits, timing: TrajectoryTiming) -> TimeLeft:
    """Of both clocks, which go on where they were."""
    return TimeLeft(_left(limits.timeout, timing.total), _left(limits.working_timeout, timing.working))


def _left(limit: float | None, taken: float) -> float | None:
    return None if limit is None else max(0.0, limit - taken)


def timing_of(
    earlier: TrajectoryTiming, turns: Sequence[Turn], *, started: float, total: float, working: float
) -> TrajectoryTiming:
    """The timing of all sittings. ``turns`` are those of this one, which took ``total`` seconds."""
    return TrajectoryTiming(
        started=earlier.started or started,
        total=earlier.total + total,
        model=earlier.model + sum(turn.timing.total for turn in turns),
        working=earlier.working + working,
        tools=earlier.tools + sum(turn.timing.tools for turn in turns),
        sittings=earlier.sittings + 1 if earlier.started else 1,
    )
