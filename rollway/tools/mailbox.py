"""Word from worker threads to an event loop. One wake of the loop carries everything that came before it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Of one event loop. ``read`` is called on the loop, once per item, in the order of posting.

    No lock: a post appends before it looks at the flag, and the reader clears the flag before it takes items
    out, so an item is either seen by the reader or wakes the loop again.
    """

    __slots__ = ("_items", "_read", "_woken")

    def __init__(self, read: Callable[[Item], None]) -> None:
        self._items: deque[Item] = deque()
        self._read = read
        self._woken = False

    def post(self, item: Item, loop: asyncio.AbstractEventLoop) -> bool:
        """From any thread. False when the loop is closed and nobody will ever read."""
        self._items.append(item)
        if self._woken:
            return True
        self._woken = True
        try:
            loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # closed: those who waited on it are gone
            self._woken = False
            self._items.clear()
            return False
        return True

    def _drain(self) -> None:
        self._woken = False
        items = self._items
        try:
            while items:
                self._read(items.popleft())
        finally:
            if items:  # reading one has raised, which is no fault of the others
                asyncio.get_running_loop().call_soon(self._drain)
