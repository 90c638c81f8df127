"""Processes of one chaos run, found wherever they were moved to: by a variable that all of them inherit.

The invariant: no process is found, struck or ended that this run did not start.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

MARK = "ROLLWAY_CHAOS_RUN"
"""The variable. Nothing reads it but this module."""

WORKER = "ray::RolloutActor"
"""How the command of a worker's process begins."""

_PROCESSES = Path("/proc")


def can_be_found() -> bool:
    """Does this system show the processes' variables?"""
    return (_PROCESSES / "self" / "environ").exists()


def processes_of(run: str) -> dict[int, str]:
    """The commands of a run's processes, by id; zombies are left out."""
    found = {}
    for folder in _PROCESSES.iterdir() if can_be_found() else ():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            if f"{MARK}={run}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found[int(folder.name)] = command.strip()
    return found


def workers_of(run: str) -> list[int]:
    """The processes of a run's workers, the oldest first."""
    return sorted(number for number, command in processes_of(run).items() if command.startswith(WORKER))


def send(number: int, which: signal.Signals) -> None:
    """Signal a process; one that is gone is no fault."""
    with suppress(ProcessLookupError):
        os.kill(number, which)


def left_over(run: str, within: float) -> dict[int, str]:
    """What of a run is still there after ``within`` seconds."""
    deadline = time.monotonic() + within
    while (left := processes_of(run)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
