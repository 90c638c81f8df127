"""Containers that outlived their worker, known by the owner on their label.

A process is named by its host, its PID namespace, its number and when it started, so that neither a number
used again nor a worker on another machine or in another container is ever taken for a dead one.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from rollway.tools.sandboxes.container_commands import list_command, remove_command
from rollway.tools.sandboxes.container_engine import ask_engine


def owner_of_this_process() -> str:
    """``host/pid/start``, fit for a label."""
    return f"{_host()}/{os.getpid()}/{_start_of(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Is it known that this owner runs no more? Never so for one of another host."""
    host, _, process = owner.rpartition("/")[0].rpartition("/")
    start = owner.rpartition("/")[2]
    return host == _host() and process.isdecimal() and _start_of(int(process)) != start


async def reap_containers(engine: str) -> int:
    """Remove the containers of workers of this host that are dead, and say how many there were.

    Raises:
        UserError: the engine is not installed or does not run.
        SandboxError: it failed otherwise.
    """
    listed = (line.partition(" ") for line in (await ask_engine(list_command(engine))).splitlines())
    dead = [container for container, _, owner in listed if is_dead(owner)]
    if dead:
        await ask_engine(remove_command(engine, dead))
    return len(dead)


def _host() -> str:
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if not boot.exists():
        return platform.node()
    return f"{boot.read_text().strip()}-{namespace.readlink()}"


def _start_of(process: int) -> str:
    """When a process started, in the kernel's ticks; ``""`` when there is none."""
    try:
        if not Path("/proc/self/stat").exists():
            os.kill(process, 0)
            return "-"
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if after_name[0] in "ZX" else after_name[19]
