"""Workers that Ray started for a run: their processes, and how long to wait for these."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

PATIENCE = 300.0
"""Seconds for whatever takes Ray to start or end processes: a third of a core needs eighty."""


def worker_processes(run: Path) -> list[int]:
    """The process ids that the run's log names."""
    return [int(pid) for pid in re.findall(r"runs as process (\d+) on", (run / "log.txt").read_text())]


async def gone(pid: int, seconds: float = PATIENCE) -> bool:
    """Wait until a process has ended."""
    async with asyncio.timeout(seconds):
        while state(pid) != "Z":
            await asyncio.sleep(0.05)
    return True


def state(pid: int) -> str:
    """The letter that the system has for it; Z when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
