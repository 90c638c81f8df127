"""Files that are waited for: a thin layer over epoll."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """What to do when a file is ready."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._ready: dict[int, Callable[[], object]] = {}

    def wait(self, until: float) -> None:
        """Wait for a file or for a moment of `time.monotonic`, and do what is to be done."""
        timeout = -1 if until == float("inf") else max(0.0, until - time.monotonic())
        for file, _ in self._poll.poll(timeout):
            if action := self._ready.get(file):
                action()

    def watch(self, file: int, events: int, action: Callable[[], object]) -> None:
        """``action`` whenever ``file`` is ready for ``events``, until it is unwatched or shut."""
        if file in self._ready:
            self._poll.modify(file, events)
        else:
            self._poll.register(file, events)
        self._ready[file] = action

    def unwatch(self, file: int) -> None:
        if self._ready.pop(file, None):
            self._poll.unregister(file)

    def shut(self, file: int) -> None:
        """Unwatch and close; -1 is a file that is closed already."""
        if file >= 0:
            self.unwatch(file)
            os.close(file)
