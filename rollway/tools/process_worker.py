"""The far side of a process tool: a keeper that runs no tool, and its child, which runs one call at a time.

    python -P process_worker.py SOCKET

Stdin is the keeper's life line. When it closes, or the child ends, however that came about, the keeper kills
everything below it, daemons included, since orphans fall to it; then it writes the child's exit code to
stdout and ends. It needs neither the package nor the interpreter's lock of whatever the tool is stuck in.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import time

FRAME = struct.Struct("!Q")  # bytes of what follows
WATCH_SECONDS = 2.0  # how often the keeper looks whether its parent is still the one that started it
KILL_SECONDS = 5.0  # how long it tries to kill what will not die

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Become the keeper; the child never returns from here."""
    parent, keeper = os.getppid(), os.getpid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    calls = socket.socket(fileno=int(sys.argv[1]))
    child = os.fork()
    if child == 0:
        try:
            _serve(calls, keeper)
        finally:
            os._exit(1)
    calls.close()
    _watch(child, parent)
    code = _kill_all_below(child)
    os.write(1, str(code).encode())
    os._exit(0)


def _watch(child: int, parent: int) -> None:
    """Return when the child has ended, the life line has closed, or the parent is gone."""
    poller = select.poll()
    poller.register(0, select.POLLIN)
    seconds = WATCH_SECONDS
    try:
        poller.register(os.pidfd_open(child), select.POLLIN)
    except (AttributeError, OSError):  # an old kernel, or a system that only looks like one
        seconds = 0.02
    while not poller.poll(seconds * 1000) and os.getppid() == parent:
        _reap(sparing=child)
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return


def _kill_all_below(child: int) -> int:
    """Kill all descendants and return the child's exit code, below 0 for a signal."""
    code = -signal.SIGKILL
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        kill(*descendants(os.getpid()))
        ended = _reap()
        if ended is None:
            return code
        if child in ended:
            code = os.waitstatus_to_exitcode(ended[child])
        time.sleep(0.001)
    return code


def _reap(sparing: int = 0) -> dict[int, int] | None:
    """Statuses of children that have ended, by pid; ``None`` when there are no children at all."""
    ended: dict[int, int] = {}
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return ended or None
        if found is None or found.si_pid == sparing:
            return ended
        pid, status = os.waitpid(found.si_pid, 0)
        ended[pid] = status


def descendants(ancestor: int) -> list[int]:
    """The processes below one, as far as they can be seen at this moment."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
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


def kill(*pids: int) -> None:
    """Kill processes, as far as they are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


def _serve(calls: socket.socket, keeper: int) -> None:
    """The child: import what calls need, say so, and answer calls until there are no more."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        return
    calls.set_inheritable(False)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # the life line, the exit code and what a tool prints are not its own
        os.dup2(null, descriptor)
    hello = _read_frame(calls)
    if hello is None:
        return
    sys.path[:] = json.loads(hello)
    from rollway.tools.process_calls import answer

    itself, folder = os.getpid(), os.getcwd()
    _write_frame(calls, b"")
    while (call := _read_frame(calls)) is not None:
        os.chdir(folder)
        reply = answer(call, lambda: _write_frame(calls, b""))
        if os.getpid() != itself:  # the tool has forked, and this is the copy
            return
        _write_frame(calls, reply)


def _read_frame(calls: socket.socket) -> bytes | None:
    """The next frame, or ``None`` at the end."""
    head = calls.recv(FRAME.size, socket.MSG_WAITALL)
    if len(head) < FRAME.size:
        return None
    data = bytearray()
    (size,) = FRAME.unpack(head)
    while len(data) < size:
        part = calls.recv(min(size - len(data), 1 << 20))
        if not part:
            return None
        data += part
    return bytes(data)


def _write_frame(calls: socket.socket, data: bytes) -> None:
    calls.sendall(FRAME.pack(len(data)) + data)


def _prctl(option: int, value: int) -> None:
    try:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (
        OSError,
        AttributeError,
    ):  # no Linux: orphans are not the keeper's, and only what it sees is killed
        pass


if __name__ == "__main__":
    main()
