"""Which faults of a tool call say nothing about the policy: a lost sandbox, an exhausted machine.

The invariant: a call that used up a limit of its own sandbox is the policy's doing, and told to the model; a
machine without room, descriptors or threads never is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import msgspec

from rollway.tools.pool_records import RaisedInProcess
from rollway.tools.sandboxes.protocol import Sandbox, SandboxError, SandboxLimitReached

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EIO})
"""What the system says when the machine, not the request, is at fault: no descriptors, no disk, no memory."""

NO_THREAD = "can't start new thread"
"""CPython's message, which has no exception type of its own."""

MOST_CAUSES = 20
"""Exceptions in a chain that are looked at."""


class MachineFault(msgspec.Struct, frozen=True):
    """Why a call has no result that says anything about the policy."""

    kind: str  # the exception's type
    message: str
    where: str  # "sandbox", or "tools"


def machine_fault(error: BaseException, sandbox: Sandbox | None) -> MachineFault | None:
    """What in a call's error is the machine's fault; None: nothing is.

    ``sandbox`` is the rollout's own. A `SandboxError` while it is open says that one request failed, not that
    the sandbox is gone.
    """
    causes = list(_causes(error))
    if any(isinstance(cause, SandboxLimitReached) for cause in causes):
        return None
    lost = next((cause for cause in causes if isinstance(cause, SandboxError)), None)
    if lost is not None and sandbox is not None and sandbox.closed:
        return MachineFault(type(lost).__name__, _told(lost), "sandbox")
    ran_out = next((cause for cause in causes if _says_exhausted(cause)), None)
    if ran_out is None:
        return None
    kind = ran_out.kind if isinstance(ran_out, RaisedInProcess) else type(ran_out).__name__
    return MachineFault(kind, _told(ran_out), "tools")


def system_error(error: BaseException) -> int | None:
    """The number of an exhausted machine's error that led to ``error``; None: none did."""
    numbers = [cause.errno for cause in _causes(error) if isinstance(cause, OSError)]
    return next((number for number in numbers if number in EXHAUSTED), None)


def _says_exhausted(error: BaseException) -> bool:
    if isinstance(error, OSError | RaisedInProcess):
        return error.errno in EXHAUSTED
    return isinstance(error, RuntimeError) and NO_THREAD in _told(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it, the latest first."""
    seen = 0
    following: BaseException | None = error
    while following is not None and seen < MOST_CAUSES:
        yield following
        following, seen = following.__cause__ or following.__context__, seen + 1


def _told(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # an exception whose own `__str__` raises
        return f"(its message cannot be read: {type(second).__name__})"
