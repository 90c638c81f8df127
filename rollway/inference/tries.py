"""What one failed try of a model call means for the next one.

The invariant: where a try fails, it is said there of which kind the fault is; what follows from that is
decided in `rollway.inference.retry` and nowhere else.
"""

from __future__ import annotations

from enum import StrEnum

from rollway.clock import WaitKind
from rollway.inference.errors import InferenceError


class TryFault(StrEnum):
    """Why a try gave no reply, by what may help."""

    FINAL = "final"  # nothing: the same request would fail again
    GARBAGE = "garbage"  # the server is there and answers, but with nothing of use: a few tries
    OVERLOADED = "overloaded"  # the server sent it away: fewer requests at once
    UNAVAILABLE = "unavailable"  # something on the way, or a server that gets ready: time
    AWAY = "away"  # nobody listens at the address: time
    BROKEN = "broken"  # the connection or the body broke off after the request had been sent: time
    TIMED_OUT = "timed_out"  # a limit of `Timeouts` was reached: time

    @property
    def wait(self) -> WaitKind:
        """What a rollout waited for while such a try went on."""
        return WaitKind.OVERLOAD if self is TryFault.OVERLOADED else WaitKind.RETRY


class TryFailed(Exception):
    """One try gave no reply. Never leaves `with_retries`, which raises ``error`` when it gives up.

    ``fault`` says more than ``retry`` where it is given; else a try that may be repeated is `GARBAGE`.
    """

    def __init__(
        self,
        error: InferenceError,
        *,
        retry: bool = True,
        fault: TryFault = TryFault.GARBAGE,
        retry_after: float | None = None,
        at_once: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.fault = fault if retry else TryFault.FINAL
        self.retry_after = retry_after  # seconds that the server asked for
        self.at_once = at_once  # the next try asks for something else: it need not wait, and is no repetition

    @property
    def retry(self) -> bool:
        """Whether the same request may do better."""
        return self.fault is not TryFault.FINAL
