"""What a gate says: of a server that is gone in the log, and of the calls that it fails.

The invariant: each is one line that names the server, the reason and the seconds.
"""

from __future__ import annotations

from rollway.clock import WaitKind
from rollway.inference.errors import InferenceError, NoReplyInTime, ServerOverloaded, ServerUnreachable
from rollway.inference.presence import Found, Presence

_GONE = {WaitKind.AWAY: "is away", WaitKind.STALL: "stands still", WaitKind.OVERLOAD: "sends every call away"}
_HELD = {
    WaitKind.AWAY: "the server is away",
    WaitKind.STALL: "the server stands still",
    WaitKind.OVERLOAD: "the server takes no more requests at once",
    WaitKind.CONNECTION: "all connections of the client are in use",
}


def gone(server: str, kind: WaitKind, why: str, *, calls: int, seconds: float) -> str:
    """For the log. ``calls`` wait for it, for ``seconds`` at most."""
    waiting = "1 call waits" if calls == 1 else f"{calls} calls wait"
    return f"server {server} {_GONE[kind]} ({why}); {waiting} for it, for up to {seconds:.0f} s"


def not_found(server: str, found: Found, reason: InferenceError | None) -> InferenceError:
    """What a probe found that found nobody. ``reason``: why it was sent, which says more where it is that."""
    if reason is not None and found.presence is not Presence.BEHIND and reason.status is None:
        return reason
    return ServerUnreachable(f"no server at {server} ({found.reason}); see its log")


def stands_still(server: str, found: Found) -> InferenceError:
    """What a probe found that was not answered, while the server has calls."""
    return ServerUnreachable(f"{server} accepts requests and stands still ({found.reason}); see its log")


def given_up(reason: InferenceError | None, seconds: float, *, overloaded: bool) -> InferenceError:
    """Patience is used up, ``seconds`` after it went."""
    kind = ServerOverloaded if overloaded else ServerUnreachable
    status = None if reason is None else reason.status
    return kind(
        f"{reason} (gave up {seconds:.0f} s after it went; retry.patience allows no more)", status=status
    )


def too_late(server: str, kind: WaitKind, reason: InferenceError | None, seconds: float) -> NoReplyInTime:
    """A call's deadline came after it had waited ``seconds`` at the gate."""
    why = "" if reason is None else f" ({reason})"
    error = NoReplyInTime(
        f"the request to {server} was not sent before the request's deadline: {_HELD[kind]}{why}; "
        f"it waited {seconds:.1f} s"
    )
    error.waiting_for, error.seconds = kind, seconds
    return error
