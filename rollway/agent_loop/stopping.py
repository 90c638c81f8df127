"""Why a rollout ends: the limits that are looked at before a turn, and the reply after it.

The invariant: only a whole reply that says something and calls nothing is an answer; a reply that was cut
off or given up never is.
"""

from __future__ import annotations

from rollway.limits import Limits
from rollway.replies import Reply
from rollway.trajectory import ErrorRecord, StopReason, Turn

CUT_OFF = frozenset({"length", "content_filter", "repetition"})
"""Finish reasons of a reply that is not whole. Calls in it are not run, even where they can be read."""

SERVER_GAVE_UP = frozenset({"abort", "error"})
"""Finish reasons of a reply that the server did not finish."""


def reached_limit(limits: Limits, *, turns: int, tokens_left: int | None) -> StopReason | None:
    """The limit that forbids another turn; ``None`` if there may be one."""
    if limits.max_turns is not None and turns >= limits.max_turns:
        return StopReason.MAX_TURNS
    if tokens_left is not None and tokens_left <= 0:
        return StopReason.MAX_TOKENS
    return None


def reason_to_stop(turn: Turn, reply: Reply, tokens_left: int | None) -> StopReason | None:
    """Why the reply of ``turn`` is the last one; ``None``: there are calls to run, or to ask for again."""
    if turn.finish_reason in SERVER_GAVE_UP:
        return StopReason.MODEL_ERROR
    if turn.finish_reason in CUT_OFF:
        spent = tokens_left is not None and tokens_left <= 0
        return StopReason.MAX_TOKENS if spent else StopReason.TRUNCATED
    if reply.calls or reply.errors:
        return None
    return StopReason.COMPLETED if (reply.content or "").strip() else StopReason.EMPTY_RESPONSE


def server_gave_up(turn: Turn) -> ErrorRecord:
    """What goes into the record of a rollout that ends in `SERVER_GAVE_UP`."""
    return ErrorRecord(
        kind="ServerAborted",
        message=f"the server ended turn {turn.index + 1} with {turn.finish_reason!r}",
        where="model",
    )
