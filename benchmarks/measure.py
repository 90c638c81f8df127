"""What a process costs: CPU seconds, memory, and how late its event loop was.

The standard library alone, so that a peer's environment can read it too. CPU is user and system time of all
threads.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from array import array
from pathlib import Path
from typing import Any

TICK = 0.005  # seconds between two looks at the loop's clock
_HERTZ = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """CPU seconds of another process so far, to the system's tick; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _HERTZ


def rss(pid: int | str = "self", *, peak: bool = False) -> int:
    """Bytes in memory now, or the most so far; 0 when the process is gone."""
    name = "VmHWM:" if peak else "VmRSS:"
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def own_memory(pid: int | str = "self") -> int:
    """Bytes in memory now but for pages that other processes see as well: what a worker of Ray and its driver
    touch of the object store is counted in the ``rss`` of both. 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssFile:")))


def descendants(pid: int) -> set[int]:
    """The processes below one, children of children included."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = children.get(waiting.pop(), [])
        found.update(new)
        waiting += new
    return found


class Lag:
    """How late the running loop gets to a timer: one that is due every `TICK`, for as long as the block."""

    def __init__(self) -> None:
        self.late = array("d")  # seconds

    async def __aenter__(self) -> Lag:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.sleep(TICK)  # the last stretch counts as well
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.late.append(time.perf_counter() - due)

    def told(self) -> dict[str, float]:
        """Milliseconds: the worst, and the 99th percentile of all ticks."""
        late = sorted(self.late)
        if not late:
            return {"lag_max_ms": 0.0, "lag_p99_ms": 0.0}
        p99 = late[min(len(late) - 1, int(len(late) * 0.99))]
        return {"lag_max_ms": late[-1] * 1e3, "lag_p99_ms": p99 * 1e3}


class Stopwatch:
    """CPU and wall time of this process since it was made. Made and read on the event loop's thread."""

    def __init__(self) -> None:
        self._collecting, self._began = 0.0, 0.0
        gc.callbacks.append(self._collect)
        self._used = resource.getrusage(resource.RUSAGE_SELF)
        self._loop, self._wall = time.thread_time(), time.perf_counter()

    def told(self) -> dict[str, Any]:
        """Seconds and bytes. ``loop_s`` is this thread's CPU, ``collecting_s`` the garbage collector's."""
        wall, loop = time.perf_counter() - self._wall, time.thread_time() - self._loop
        used = resource.getrusage(resource.RUSAGE_SELF)
        user, system = used.ru_utime - self._used.ru_utime, used.ru_stime - self._used.ru_stime
        gc.callbacks.remove(self._collect)
        return {
            "cpu_s": user + system,
            "user_s": user,
            "system_s": system,
            "loop_s": loop,
            "collecting_s": self._collecting,
            "wall_s": wall,
            "peak_rss": rss(peak=True),
        }

    def _collect(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self._collecting += time.thread_time() - self._began
