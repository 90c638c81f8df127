"""A small process that ends ours at the second Ctrl-C where no thread of ours can: one of them holds the
interpreter's lock, as a regular expression does that backtracks without end.

The invariant: it acts only where signals come to us and are not answered. It runs without the package, and
goes when we do.

    python -I -S interrupt_guard.py SIGNALS ANSWERS PARENT

It reads the numbers of signals from one descriptor, hands them on by the other, and reads `ACKNOWLEDGED` from
the first when they were seen.
"""

import os
import select
import signal
import sys
import time

ACKNOWLEDGED = 255
ANSWER_SECONDS = 1.0  # how long a thread of ours may take to see a signal


def watch(signals: int, answers: int, parent: int) -> None:
    """Until the parent is gone, or is killed at a second signal that it does not see."""
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    unseen = 0
    since = 0.0
    while True:
        waits = unseen > 1
        left = max(0.0, since + ANSWER_SECONDS - time.monotonic())
        if not poll.poll(left * 1000 if waits else None):
            os.kill(parent, signal.SIGKILL)
            return
        data = os.read(signals, 64)
        if not data:
            return
        for byte in data:
            if byte == ACKNOWLEDGED:
                unseen = 0
            else:
                unseen += 1
                since = time.monotonic()
                os.write(answers, bytes([byte]))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are the parent's
    try:
        watch(*map(int, sys.argv[1:4]))
    except OSError:  # the parent is gone
        pass
