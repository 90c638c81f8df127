"""One call on a worker thread, as its event loop sees it: a future, and a deadline that counts running time.

Everything here but `ThreadCall.report` happens on the loop's thread. The future is set exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from rollway.tools.jobs import Job, JobState
from rollway.tools.mailbox import Mailbox
from rollway.tools.pool_records import CallResult
from rollway.tools.workers import Workers


class ThreadCall(Job):
    """A job that somebody awaits."""

    __slots__ = ("_loop", "_mailbox", "_timer", "_workers", "future", "on_begin")

    def __init__(
        self,
        function: Callable[[], Any],
        timeout: float | None,
        workers: Workers,
        mailbox: Mailbox[ThreadCall],
    ) -> None:
        super().__init__(function, timeout)
        self._loop = asyncio.get_running_loop()
        self._mailbox = mailbox
        self._timer: asyncio.TimerHandle | None = None
        self._workers = workers
        self.future: asyncio.Future[CallResult] = self._loop.create_future()
        self.on_begin: Callable[[], None] | None = None  # called when it has begun after a wait

    def report(self) -> None:
        """From the worker's thread: have the loop look at this call."""
        if self.state is JobState.DONE or self.timeout is not None or self.on_begin is not None:
            self._mailbox.post(self, self._loop)

    def look(self) -> None:
        """Answer if the job has ended, else set its deadline: it runs, or will as soon as a thread wakes."""
        if self.future.done():
            return
        if self.state is JobState.DONE:
            self._disarm()
            self.future.set_result(self._result())
            return
        if self.timeout is not None and self._timer is None:
            self._at_deadline()
        if self.on_begin is not None and self.started is not None:
            self.on_begin()

    def withdraw(self) -> None:
        """Whoever awaited the call was cancelled."""
        self._disarm()
        self._workers.withdraw(self)
        self._loop.call_soon(self._workers.refill)  # after all others that are cancelled at this moment

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _at_deadline(self) -> None:
        assert self.timeout is not None
        now = time.monotonic()
        left = self.timeout - (now - self.started if self.started is not None else 0.0)
        if left > 0:  # the timer is only being set, or was before the job began
            self._timer = self._loop.call_later(left, self._at_deadline)
        elif self._workers.give_up(self):
            self._timer = None
            self.future.set_result(self._result())
        # Otherwise it has just ended, and its report is on the way.

    def _result(self) -> CallResult:
        if self.started is None:  # refused before it ran
            return CallResult(error=self.error, queued=time.monotonic() - self.submitted)
        queued = self.started - self.submitted
        if self.state is JobState.ABANDONED or self.overran:
            ended = self.ended if self.ended is not None else time.monotonic()
            return CallResult(timed_out=True, duration=ended - self.started, queued=queued)
        assert self.ended is not None
        return CallResult(self.value, self.error, duration=self.ended - self.started, queued=queued)


class LoopCalls:
    """The thread calls of one event loop. Those of one round wake one thread at once and one after it.

    Every thread that is awake takes the interpreter from the loop a few milliseconds later. A loop that woke
    one for each of a thousand calls would be interrupted until the last is made.
    """

    __slots__ = ("_holding", "_looking", "_workers", "mailbox")

    def __init__(self, workers: Workers) -> None:
        self.mailbox: Mailbox[ThreadCall] = Mailbox(ThreadCall.look)
        self._workers = workers
        self._holding = False  # a thread has been woken in this round; the next comes with `_let_go`
        self._looking = False  # whether jobs have waited for longer than the workers' patience

    def submit(self, call: ThreadCall) -> bool:
        """False when the pool is closed."""
        first = not self._holding
        if first:
            self._holding = True
            asyncio.get_running_loop().call_soon(self._let_go)
        return self._workers.submit(call, wake=first)

    def _let_go(self) -> None:
        self._holding = False
        self._workers.refill()
        if self._workers.patience is not None and not self._looking:
            self._look()

    def _look(self) -> None:
        """Again and again while jobs are queued."""
        patience = self._workers.patience
        self._workers.refill()
        self._looking = patience is not None and self._workers.queued > 0
        if patience is not None and self._looking:
            asyncio.get_running_loop().call_later(patience, self._look)
