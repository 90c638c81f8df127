"""A limited number of places, given in the order of requests to any number of event loops.

Whoever was given a place gives it back exactly once, from any thread; a caller that is cancelled holds none.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque

from rollway.tools.pool_records import PoolClosed


class _Waiter:
    """Somebody in the queue."""

    __slots__ = ("admitted", "future")

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.admitted = False  # holds a place, whether it has been told or not


class Places:
    """Bounds what runs at a time."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._all_given_back = threading.Condition(self._lock)
        self._waiting: deque[_Waiter] = deque()
        self._closed: PoolClosed | None = None
        self.size = size
        self.taken = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def take(self) -> None:
        """Wait for a place.

        Raises:
            PoolClosed: there are none any more.
        """
        with self._lock:
            if self._closed is not None:
                raise self._closed
            if self.taken < self.size and not self._waiting:
                self.taken += 1
                return
            waiter = _Waiter()
            self._waiting.append(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def give_back(self) -> None:
        """Hand a place on. From any thread."""
        with self._lock:
            self.taken -= 1
            admitted = self._admit()
            if self.taken == 0:
                self._all_given_back.notify_all()
        self._tell(admitted)

    def resize(self, size: int) -> None:
        """Have ``size`` places from now on."""
        with self._lock:
            self.size = size
            admitted = self._admit()
        self._tell(admitted)

    def close(self, error: PoolClosed) -> None:
        """Refuse whoever waits, and whoever comes."""
        with self._lock:
            self._closed = error
            waiting, self._waiting = list(self._waiting), deque()
        for waiter in waiting:
            _post(waiter.future, error)

    def join(self, timeout: float) -> bool:
        """Wait until all places are given back. False when ``timeout`` seconds were not enough."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while self.taken:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._all_given_back.wait(left)
        return True

    def _withdraw(self, waiter: _Waiter) -> None:
        """Take out of the queue whoever was cancelled; a place handed over at the same moment goes back."""
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        if waiter.admitted:
            self.give_back()

    def _admit(self) -> list[_Waiter]:
        """With the lock held: whom free places go to; the caller tells them."""
        admitted = []
        while self._waiting and self.taken < self.size:
            self.taken += 1
            admitted.append(self._waiting.popleft())
            admitted[-1].admitted = True
        return admitted

    def _tell(self, admitted: list[_Waiter]) -> None:
        for waiter in admitted:
            if not _post(waiter.future):
                self.give_back()


def _post(future: asyncio.Future[None], error: PoolClosed | None = None) -> bool:
    """Answer a future on its own loop. False when that loop is closed."""
    try:
        future.get_loop().call_soon_threadsafe(_answer, future, error)
    except RuntimeError:
        return False
    return True


def _answer(future: asyncio.Future[None], error: PoolClosed | None) -> None:
    if future.done():  # cancelled; `take` sees to the place
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
