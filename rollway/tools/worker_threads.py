"""The threads of a pool: how one sleeps between its jobs, and how one is started.

Nobody waits until a thread has started but the one thread that is there for it. Each start hands the
interpreter over and back, and a burst of calls would have its event loop do that once a call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Worker:
    """A thread that runs jobs and sleeps on a lock of its own in between."""

    __slots__ = ("dismissed", "thread", "wake")

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None  # until it is first needed
        self.wake = threading.Lock()
        self.wake.acquire()
        self.dismissed = False  # no longer the pool's: the thread ends when it can


class Starter:
    """A thread on which ``start`` is called with one worker after the other; begun with the first.

    The caller sees to it that no two threads use it at a time.
    """

    def __init__(self, name: str, start: Callable[[Worker], None]) -> None:
        self._name = name
        self._start = start
        self._asked: SimpleQueue[Worker | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, worker: Worker) -> None:
        """Have a worker started, soon.

        Raises:
            RuntimeError: the system has no thread for the starter itself.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            thread.start()
            self._thread = thread
        self._asked.put(worker)

    def end(self) -> None:
        """Let the thread end after what it was asked for."""
        self._asked.put(None)

    def _serve(self) -> None:
        while (worker := self._asked.get()) is not None:
            self._start(worker)
