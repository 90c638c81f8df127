"""Why a rollout ends: the limits that are looked at before a turn, and the reply after it.

The invariant: only a whole reply that says something and calls nothing is an answer; a reply that was cut
off or given up never is. Which is which is decided in `rollway.inference.endings`.
"""

from __future__ import annotations

from rollway.inference.endings import CALLING, Ending, ending_of
from rollway.limits import Limits
from rollway.replies import Reply
from rollway.trajectory import ErrorRecord, StopReason, Turn


def reached_limit(limits: Limits, *, turns: int, tokens_left: int | None) -> StopReason | None:
    """The limit that forbids another turn; ``None`` if there may be one."""
    if limits.max_turns is not None and turns >= limits.max_turns:
        return StopReason.MAX_TURNS
    if tokens_left is not None and tokens_left <= 0:
        return StopReason.MAX_TOKENS
    return None


def reason_to_stop(
    turn: Turn, reply: Reply, tokens_left: int | None, *, at_stop: bool | None = None, failed: bool = False
) -> StopReason | None:
    """Why the reply of ``turn`` is the last one; ``None``: there are calls to run, or to ask for again.

    ``at_stop``: its last sampled token ends a reply; None: not known. ``failed``: the server says that it
    broke the reply off.
    """
    calls = bool(reply.calls or reply.errors)
    ending = Ending.GIVEN_UP if failed else ending_of(turn.finish_reason, calls=calls, at_stop=at_stop)
    if ending is Ending.GIVEN_UP:
        return StopReason.MODEL_ERROR
    if ending is Ending.CUT:
        spent = tokens_left is not None and tokens_left <= 0
        return StopReason.MAX_TOKENS if spent else StopReason.TRUNCATED
    if calls:
        return None
    return StopReason.COMPLETED if (reply.content or "").strip() else StopReason.EMPTY_RESPONSE


def promises_call(turn: Turn, reply: Reply) -> bool:
    """Whether the server says that the model made a call, and gives none."""
    return turn.finish_reason.strip().lower() in CALLING and not (reply.calls or reply.errors)


def server_gave_up(turn: Turn) -> ErrorRecord:
    """What goes into the record where the server gave a reply up and does not say why."""
    return ErrorRecord(
        kind="ServerAborted",
        message=f"the server ended turn {turn.index + 1} with {turn.finish_reason!r}",
        where="model",
    )
