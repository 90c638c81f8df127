"""What a pool tells its callers."""

from __future__ import annotations

from typing import Any

import msgspec


class PoolClosed(RuntimeError):
    """The pool takes no more calls."""


class RaisedInProcess(Exception):
    """What a process tool raised, told and not carried over. The message is type and message there."""

    def __init__(self, described: str, place: str = "", *, kind: str = "", errno: int | None = None) -> None:
        super().__init__(described)
        self.place = place  # where it was raised
        self.kind = kind  # its type's name there
        self.errno = errno  # of an OSError, or of one that led to it


class ProcessEnded(Exception):
    """The process that ran a call has ended before the call did. The message says by what."""


class CallResult(msgspec.Struct, frozen=True):
    """What came of one call: a value, an exception, or neither at the deadline."""

    value: Any = None
    error: BaseException | None = None  # as the function raised it; `PoolClosed` when it was never run
    timed_out: bool = False
    duration: float = 0.0  # seconds that it ran
    queued: float = 0.0  # seconds that it waited for a thread

    @property
    def ok(self) -> bool:
        """Did the function return in time?"""
        return self.error is None and not self.timed_out


class PoolStats(msgspec.Struct, frozen=True):
    """A pool at one moment. Wait times are those of the latest few thousand sync calls."""

    size: int  # sync calls that may run at a time
    running: int  # sync calls that run
    running_async: int  # async calls that run; they take no thread and are not bounded
    running_processes: (
        int  # calls that run in a process of their own; as many as `size` may, beside the threads
    )
    queued: int  # calls that wait for a thread or a process
    written_off: int  # calls that were given up and still hang
    late: int  # calls that ended after their deadline or after nobody waited; their results were discarded
    completed: int  # calls that ended in time, by a value or an exception
    wait_p50: float  # seconds in the queue; 0.0 when there were no calls
    wait_p90: float
    wait_p99: float
