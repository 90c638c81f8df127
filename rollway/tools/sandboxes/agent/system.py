"""The kernel as the agent needs it: prctl, privileges, and processes, found in /proc and killed as trees."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the same without its enums, which take longer to load than all else

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38


_LIBC = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


class Process:
    """One line of the process table."""

    __slots__ = ("ended", "parent", "pid", "started")

    def __init__(self, pid: int, parent: int, ended: bool, started: int) -> None:
        self.pid, self.parent = pid, parent
        self.ended = ended  # a zombie: nothing runs any more
        self.started = started  # clock ticks since the system's start


def process(pid: int) -> Process | None:
    """One process, by its id; ``None`` where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return Process(pid, int(fields[1]), fields[0] in b"ZX", int(fields[19]))


def descendants(root: int) -> list[Process]:
    """All that stem from ``root``, zombies included."""
    children: dict[int, list[Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := process(int(name))):
            children.setdefault(found.parent, []).append(found)
    below = children.get(root, [])[:]
    for one in below:  # grows while it is walked
        below += children.get(one.pid, ())
    return below


def send_signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def kill_below(root: int, *, spare: int | None = None, since: float | None = None) -> None:
    """End all that stems from ``root``, but not ``root`` itself.

    Each is stopped before any is killed, and the walk is repeated until it finds nobody new: who is stopped
    starts no more processes, so a fork bomb cannot outrun the walk.

    Args:
        spare: one process that is left alone (what it started is not).
        since: only what was started at this moment or later: seconds since the system's start.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    oldest = 0 if since is None else since * ticks - 1
    give_up = time.monotonic() + 0.8  # nothing ends a process that hangs in the kernel
    while time.monotonic() < give_up:
        stopped: set[int] = set()
        while new := [
            one.pid
            for one in descendants(root)
            if not one.ended and one.pid not in stopped and one.pid != spare and one.started >= oldest
        ]:
            for pid in new:
                send_signal(pid, signal.SIGSTOP)
            stopped.update(new)
        if not stopped:
            return
        for pid in stopped:
            send_signal(pid, signal.SIGKILL)
        time.sleep(0.001)


def drop_to(user: int) -> None:
    """From root to one user and group, for good."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    version_3 = struct.pack("Ii", 0x20080522, 0)
    if _LIBC.capset(version_3, bytes(24)) != 0:  # the inheritable ones are still there
        raise OSError(errno.EPERM, "cannot drop capabilities")
