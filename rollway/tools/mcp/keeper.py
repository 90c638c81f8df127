"""Starts a server and sees to it that its whole process tree ends: when its stdin is closed, however whoever
held it ended, when it ends itself, or on SIGTERM. Never imported: a program of the standard library alone.

    python -I -S keeper.py GRACE PROGRAM [ARGUMENT...]

The server has stdin, stdout and stderr for itself. When stdin is closed it has GRACE seconds to end, then it
and all that it started (daemons included, where the system lets us inherit orphans) get SIGTERM, then
SIGKILL. The exit code is the server's, or 128 + n when signal n ended it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

TERM_SECONDS = 0.5  # between SIGTERM and SIGKILL
KILL_SECONDS = 1.0  # that SIGKILL is repeated for, where processes are faster to fork than to die
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(grace: float, command: list[str]) -> int:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    told_to_end: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: told_to_end.append(signum))
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    server = _start(command)
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # who reads them must see their end when the server has ended
        os.dup2(nothing, output)
    poll = select.poll()
    poll.register(0, 0)  # its end alone, never its content
    poll.register(woken, select.POLLIN)
    deadline: float | None = None
    ended: dict[int, int] = {}
    while server not in ended and not told_to_end:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        for file, _ in poll.poll(None if left is None else left * 1000):
            if file == 0:
                poll.unregister(0)
                deadline = time.monotonic() + grace
            else:
                os.read(woken, 4096)
        ended |= _reap()
    ended |= _end_tree(server)
    status = ended.get(server, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _start(command: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _end_tree(server: int) -> dict[int, int]:
    ended: dict[int, int] = {}
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        deadline = time.monotonic() + seconds
        tree = _send(number, server, ended)
        while tree and time.monotonic() < deadline:
            time.sleep(0.01)
            ended |= _reap()
            tree = _send(number if number == signal.SIGKILL else 0, server, ended)
    ended |= _reap()
    return ended


def _send(number: int, server: int, ended: dict[int, int]) -> set[int]:
    """Signal the whole tree; the processes that were in it."""
    tree = _descendants()
    if tree is None:  # no /proc: the server's own session
        try:
            os.killpg(server, number)
        except OSError:
            return set()
        return {server}
    for process in tree - set(ended):
        with contextlib.suppress(OSError):
            os.kill(process, number)
    return tree


def _descendants() -> set[int] | None:
    children: dict[int, list[int]] = {}
    try:
        processes = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return None
    for process in processes:
        try:
            with open(f"/proc/{process}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(process)
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process not in found:
                found.add(process)
                waiting.append(process)
    return found if processes else None


def _reap() -> dict[int, int]:
    ended: dict[int, int] = {}
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not process:
            return ended
        ended[process] = status


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    try:
        import ctypes
    except ImportError:  # a Python that was built without it: the session's group is all that is ended
        return
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
