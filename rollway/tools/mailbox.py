"""Word from worker threads to an event loop. One wake of the loop carries everything that came before it.

It is read in slices, one in each round of the loop (`rollway.rounds`): whoever an item wakes runs in the next
round, and thousands of them in one would hold up everything else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from rollway.rounds import Slice

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Of one event loop. ``read`` is called on the loop, once per item, in the order of posting.

    No lock: a post appends before it looks at the flag, and the reader looks for items once more after it has
    cleared the flag, so an item is either seen by the reader or wakes the loop again.
    """

    __slots__ = ("_items", "_left_over", "_read", "_slice", "_woken")

    def __init__(self, read: Callable[[Item], None]) -> None:
        self._items: deque[Item] = deque()
        self._read = read
        self._woken = False  # the reader is on its way, or not done yet
        self._slice = Slice()
        self._left_over = False  # the last slice was full

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
        items = self._items
        self._slice.end(full=self._left_over)
        self._slice.begin()
        try:
            for _ in range(min(self._slice.size, len(items))):
                self._read(items.popleft())
        finally:  # when reading one has raised, too, which is no fault of the others
            if not items:
                self._woken = False
            self._left_over = bool(items)
            if items:
                self._woken = True
                asyncio.get_running_loop().call_soon(self._drain)
