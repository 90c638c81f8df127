"""Ctrl-C and SIGTERM while rollouts run: the first stops cleanly, the second at once.

Handlers are set for the time of a run only, and only on the main thread, where signals arrive.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""The exit code of an interrupted process."""


@contextmanager
def interrupts_call(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """On the first signal call ``first``; on the next call ``second`` and end the process without ado.

    To be used on the event loop's thread while the loop runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}
    seen = 0

    def handle() -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            first()
        else:
            try:
                second()
            finally:
                os._exit(INTERRUPTED)

    for number in signals:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
            if before[number] is not None:
                signal.signal(number, before[number])
