"""Which stored lines count: how a rollout ended, and why it is retried.

The invariant: a line counts when it is whole, asked for, the first of its key and not failed; every other
has a reason that can be told.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rollway.evaluation.keys import KeySet
from rollway.evaluation.tasks import Key
from rollway.trajectory import FAILURES, ErrorRecord, StopReason, Trajectory


class Ending(msgspec.Struct):
    """The fields of a stored line that decide whether the rollout is retried."""

    id: str
    task_id: str
    sample_index: int = 0
    stop_reason: StopReason | None = None
    reward: float | None = None
    error: ErrorRecord | None = None


TORN = (msgspec.DecodeError, UnicodeDecodeError)
"""What decoding a torn line raises."""

_DECODER = msgspec.json.Decoder(Ending)


def decode_ending(line: bytes) -> Ending:
    """How the rollout of a stored line ended.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: the line is torn.
    """
    return _DECODER.decode(line)


def is_failed(ending: Ending | Trajectory) -> bool:
    """Did the rollout end without saying anything about the policy, or its reward function raise?"""
    unscored = ending.reward is None and ending.error is not None
    return ending.stop_reason is None or ending.stop_reason in FAILURES or unscored


def reason_to_set_aside(line: bytes, seen: KeySet, is_asked: Callable[[Key], bool]) -> str | None:
    """Why a stored line does not count; a line that does is added to ``seen``."""
    try:
        ending = decode_ending(line)
    except TORN:
        return f"a torn line of {len(line)} bytes is set aside; its rollout is retried"
    key = (ending.task_id, ending.sample_index)
    if key in seen:
        return f"rollout {key} was recorded twice; the later line is set aside"
    if not is_asked(key):
        return f"rollout {key} is not part of the run any more; the environment's tasks may have changed"
    if is_failed(ending):
        return f"rollout {key} failed ({ending.stop_reason or 'unfinished'}); it is retried"
    seen.add(key)
    return None
