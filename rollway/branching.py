"""Branches: a rollout that shares the first turns of another and goes on by itself.

The invariant: a sampled token is trained on once. The turns that a branch shares stand in the sequences of
the trajectory that sampled them; in the branch they are context.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Sequence

from msgspec.structs import replace

from rollway.trajectory import Message, Parent, Trajectory, Turn, Untrainable, VersionSpan


def branch(trajectory: Trajectory, turn: int, *, seed: int | None = None) -> Trajectory:
    """A new, unfinished trajectory with the first ``turn`` turns of another, which is not changed.

    Resume it with ``loop.run(child.messages, trajectory=child)``; it samples turn number ``turn`` (0-based)
    next. If ``turn`` is the number of turns, it has the whole conversation; add messages to resume it:
    ``loop.run([*child.messages, {"role": "user", ...}], trajectory=child)``. Branching does not undo the
    effects of tools.

    The shared turns are marked `Untrainable.TRAINED_IN_PARENT`. If the parent is not trained on, set
    ``untrainable`` to None in one of its branches, and build that branch's sequences again.

    Args:
        turn: how many turns are shared, 0 for the prompt alone.
        seed: of the branch. The parent's seed would sample the parent's own turns again; None lets the
            server choose.

    Raises:
        ValueError: there are fewer turns, or the messages do not match the turns.
    """
    if not 0 <= turn <= len(trajectory.turns):
        raise ValueError(f"trajectory {trajectory.id!r} has {len(trajectory.turns)} turns, not {turn}")
    ends = _ends(trajectory)
    return Trajectory(
        id=uuid.uuid4().hex,
        messages=[dict(message) for message in trajectory.messages[: ends[turn]]],
        environment=trajectory.environment,
        task_id=trajectory.task_id,
        sample_index=trajectory.sample_index,
        group_id=trajectory.group_id,
        model=trajectory.model,
        seed=seed,
        turns=_shared(trajectory.turns[:turn]),
        tool_errors=[error for error in trajectory.tool_errors if error.turn <= turn],
        parent=Parent(trajectory.id, turn),
        metadata=dict(trajectory.metadata),
        tool_state=copy.deepcopy(trajectory.tool_state) if turn == len(trajectory.turns) else None,
    )


def covered_messages(trajectory: Trajectory, messages: Sequence[Message]) -> int:
    """How many of ``messages`` the trajectory's turns stand for: all up to the last reply.

    Raises:
        ValueError: it has turns, and the messages do not begin with its own.
    """
    if not trajectory.turns:
        return 0
    own = trajectory.messages
    if list(messages[: len(own)]) != own:
        raise ValueError(f"to branch from trajectory {trajectory.id!r}, start with its own messages")
    return max(place for place, message in enumerate(own, 1) if message.get("role") == "assistant")


def _ends(trajectory: Trajectory) -> list[int]:
    """For each number of turns, how many messages they make up with the prompt.

    Raises:
        ValueError: the messages are not those of the turns.
    """
    messages, turns = trajectory.messages, trajectory.turns
    replies = [place for place, message in enumerate(messages) if message.get("role") == "assistant"]
    starts = replies[len(replies) - len(turns) :]
    if len(starts) < len(turns) or not all(map(_answered, turns, [messages[at + 1 :] for at in starts])):
        raise ValueError(f"trajectory {trajectory.id!r}: its messages do not match its turns")
    return [*starts, len(messages)]


def _answered(turn: Turn, following: Sequence[Message]) -> bool:
    """Whether the messages behind a turn's reply are the results of its calls."""
    told = [message.get("tool_call_id") for message in following[: len(turn.tool_results)]]
    return told == [result.call_id for result in turn.tool_results]


def _shared(turns: Sequence[Turn]) -> list[Turn]:
    shared = [replace(turn, untrainable=turn.untrainable or Untrainable.TRAINED_IN_PARENT) for turn in turns]
    if shared:
        shared[-1] = _with_stop(shared[-1])
    return shared


def _with_stop(turn: Turn) -> Turn:
    """The turn as it was sampled: another message may follow now, which its stop token opens."""
    stop, ids = turn.dropped_stop, turn.token_ids
    if stop is None or ids is None:
        return turn
    paired = turn.logprobs is not None and len(turn.logprobs) == len(ids) and stop.logprob is not None
    return replace(
        turn,
        token_ids=[*ids, stop.token_id],
        logprobs=[*(turn.logprobs or []), stop.logprob] if paired else turn.logprobs,
        weight_versions=_one_longer(turn.weight_versions),
        dropped_stop=None,
    )


def _one_longer(spans: Sequence[VersionSpan]) -> list[VersionSpan]:
    return [*spans[:-1], replace(spans[-1], end=spans[-1].end + 1)] if spans else []
