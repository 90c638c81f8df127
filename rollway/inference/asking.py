"""How many tokens are asked for, where a server says that prompt and ``max_tokens`` together are too long.

The invariant: such a request is asked again once, for what is left of the context. A server that then still
refuses has no room, or refuses something that was never asked of it; either ends the call.
"""

from __future__ import annotations

from rollway.inference.errors import BadRequest, ContextOverflow
from rollway.inference.tries import TryFailed


class TokenBudget:
    """``max_tokens`` of one request. ``of_rollout``: it is what a whole rollout has left.

    Attributes:
        max_tokens: what to ask for now; None leaves it to the server, which gives all that is left.
        lowered: it is no longer what the caller asked for.
    """

    def __init__(self, asked: int | None, *, of_rollout: bool = False) -> None:
        self.max_tokens = asked
        self.lowered = False
        self._asked = asked
        self._of_rollout = of_rollout

    @property
    def judged(self) -> int | None:
        """What a refusal is held against. What a whole rollout has left is no mistake, however much it is."""
        return None if self._of_rollout and not self.lowered else self.max_tokens

    def after(self, failure: TryFailed, *, may_leave_out: bool = True) -> TryFailed:
        """What a failed try means: the failure itself, or that less is to be asked for at once.

        ``may_leave_out``: without ``max_tokens`` the server gives all that is left of the context.
        """
        error = failure.error
        if not isinstance(error, ContextOverflow) or not error.fits:
            return failure
        left = error.left
        if self.lowered:
            return self._given_up(error)
        if left is None and not may_leave_out:
            return failure
        self.lowered = True
        self.max_tokens = left if left is None or self._asked is None else min(left, self._asked)
        return TryFailed(error, retry=True, at_once=True)

    def _given_up(self, error: ContextOverflow) -> TryFailed:
        fitted = error.left is None or (self._asked is not None and self._asked <= error.left)
        if not fitted:
            return TryFailed(error, retry=False)
        words = f"{error}; it refuses what is left of the context as well: set sampling.max_tokens lower"
        return TryFailed(BadRequest(words, status=error.status), retry=False)
