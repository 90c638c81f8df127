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
            kill_below(parent)
            send(signal.SIGKILL, parent)
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


def descendants(ancestor: int) -> list[int]:
    """The processes that one has started, and those have, as far as they can be seen at this moment."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def kill_below(ancestor: int, *, sparing: frozenset[int] = frozenset()) -> None:
    """Kill what a process has started, and what that has. All are stopped first, so that none starts more."""
    stopped: set[int] = set()
    while new := set(descendants(ancestor)) - stopped - sparing - {os.getpid()}:
        send(signal.SIGSTOP, *new)
        stopped |= new
    send(signal.SIGKILL, *stopped)


def send(number: int, *pids: int) -> None:
    """A signal to processes, as far as they are there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are the parent's
    try:
        watch(*map(int, sys.argv[1:4]))
    except OSError:  # the parent is gone
        pass
