"""Why a model call failed, by what a caller can do about it.

The message is one line for people: what is wrong, at which address, and how to mend it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rollway.clock import WaitKind
from rollway.trajectory import Attempt


class InferenceError(Exception):
    """A model call that gave no reply. ``attempts`` lists its tries, the last one included; see `Attempt`."""

    request_id: str = ""  # of the call, where it had one
    reason: str = ""  # in few words, where there are any: "connection refused", "503: loading"

    def __init__(self, message: str, *, status: int | None = None, attempts: Sequence[Attempt] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.attempts = list(attempts)


class ContextOverflow(InferenceError):
    """The request does not fit into the model's context. A stop reason of its own.

    Never retried as it was. Where the prompt alone does fit (``fits``), a client asks once more for ``left``
    tokens, or, where the server does not say how many are left (None), for as many as there are.
    """

    fits: bool = False
    left: int | None = None


class ModelNotFound(InferenceError):
    """The server does not serve a model of this name. ``served`` has the names that it does, where known."""

    served: Sequence[str] = ()


class BadRequest(InferenceError):
    """The server refuses the request as it stands (4xx). Never retried."""


class ServerOverloaded(InferenceError):
    """408, 409, 429 or 5xx, after the last retry."""


class ServerUnreachable(InferenceError):
    """No connection, or no whole answer in time, after the last retry."""


class NoReplyInTime(ServerUnreachable):
    """The request's deadline came before a reply."""

    waiting_for: WaitKind | None = None  # None: nothing but the reply itself, or the deadline had passed
    in_reply: bool = False  # a try was under way
    seconds: float = 0.0  # how long that try, or that wait, had taken


class UnreadableCall(InferenceError):
    """The server failed on a tool call that the model wrote, and keeps the reply. Sampled again."""


class InvalidReply(InferenceError):
    """A reply that is none, or lacks what was asked for. Retried where its body was cut, or is no JSON."""
