"""An event loop that gets to its timers, however many replies come in the same moment.

It also ends although a thread of `asyncio.to_thread` hangs, for which asyncio's own waits without end.

The loops of asyncio take in all sockets that are ready before anything else gets its turn. With 4,096
rollouts in flight and a server that answers them together, that is a second in which no time limit is looked
at, no tool begins and nothing is shown. This one takes a slice of them in each round. None is passed over:
the system hands out ready sockets in turn.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from rollway.rounds import Slice

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike


END_SECONDS = 5.0
"""How long a loop that ends waits for its threads."""


def new_event_loop(*, end_seconds: float = END_SECONDS) -> asyncio.AbstractEventLoop:
    """For ``asyncio.Runner(loop_factory=new_event_loop)``. Where the system has no epoll, asyncio's own.

    ``end_seconds`` is how long it waits for the threads of `asyncio.to_thread` when it ends.
    """
    loop = (
        asyncio.SelectorEventLoop(SlicingSelector()) if hasattr(select, "epoll") else asyncio.new_event_loop()
    )
    loop.set_default_executor(_Threads(end_seconds))
    return loop


class _Threads(ThreadPoolExecutor):
    """Those of `asyncio.to_thread`, which are waited for at the loop's end, but not without end."""

    def __init__(self, end_seconds: float) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._end_seconds = end_seconds

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        deadline = time.monotonic() + (self._end_seconds if wait else 0.0)
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))


class SlicingSelector(selectors.BaseSelector):
    """epoll that reports a slice of what is ready. Files are kept track of by the library's own selector."""

    def __init__(self) -> None:
        self._registered = selectors.EpollSelector()
        self._epoll = select.epoll.fromfd(os.dup(self._registered.fileno()))
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._slice = Slice()
        self._full = False  # the slice that was last reported

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._registered.register(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        key = self._registered.unregister(fileobj)
        del self._keys[key.fd]
        return key

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._registered.modify(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._slice.end(full=self._full)
        try:
            found = self._epoll.poll(None if timeout is None else max(0.0, timeout), self._slice.size)
        except InterruptedError:
            found = []
        self._full = len(found) == self._slice.size
        self._slice.begin()
        ready = []
        for file, events in found:
            key = self._keys.get(file)
            if key is not None:
                ready.append((key, _asked(events) & key.events))
        return ready

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._registered.get_map()

    def close(self) -> None:
        self._epoll.close()
        self._registered.close()
        self._keys.clear()


def _asked(events: int) -> int:
    """In the words of `selectors`. An error wakes whoever reads and whoever writes."""
    reads = selectors.EVENT_READ if events & ~select.EPOLLOUT else 0
    writes = selectors.EVENT_WRITE if events & ~select.EPOLLIN else 0
    return reads | writes
