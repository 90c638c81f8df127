"""The failed tries of one call, as they go on record.

The invariant: the record of a call stays short however often it was tried: each of the first tries has an
entry, and later ones that fail alike share one.
"""

from __future__ import annotations

from rollway.inference.errors import InferenceError
from rollway.trajectory import Attempt

_EACH = 8  # first tries with an entry of their own


class AttemptLog:
    """``entries`` are what is on record, ``count`` how many tries that are."""

    def __init__(self) -> None:
        self.entries: list[Attempt] = []
        self.count = 0

    def add(self, error: InferenceError, duration: float) -> None:
        """Enter one try, which took ``duration`` seconds."""
        self.count += 1
        kind = type(error).__name__
        if len(self.entries) >= _EACH:
            for place in range(_EACH - 1, len(self.entries)):
                entry = self.entries[place]
                if (entry.error, entry.status) == (kind, error.status):
                    self.entries[place] = Attempt(
                        error=kind,
                        message=str(error),
                        status=error.status,
                        duration=entry.duration + duration,
                        times=entry.times + 1,
                    )
                    return
        self.entries.append(Attempt(error=kind, message=str(error), status=error.status, duration=duration))
