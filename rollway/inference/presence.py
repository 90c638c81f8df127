"""Whether a server is there, as a cheap question finds out.

The invariant: any answer of the server's own counts, whatever it says: it is asked for, not judged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

import msgspec

BEHIND_STATUSES = frozenset({502, 503, 504})
"""What something on the way answers where the server does not, and a server that is not ready."""


class Presence(Enum):
    """What a probe found."""

    THERE = "there"  # it answers, whatever it says
    REFUSED = "refused"  # nobody listens
    BEHIND = "behind"  # something on the way answers that the server does not
    SILENT = "silent"  # no answer in time


class Found(msgspec.Struct, frozen=True):
    """The answer to a probe."""

    presence: Presence
    reason: str = ""  # "connection refused", "502"


Probe = Callable[[float], Awaitable[Found]]
"""Ask whether the server is there, within so many seconds."""


def found_status(status: int) -> Found:
    """What an answer with this status says."""
    return Found(Presence.BEHIND if status in BEHIND_STATUSES else Presence.THERE, str(status))
