"""What the sandboxes of one owner have on the host at this moment, and what this process has for them."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

from rollway.tools.sandboxes.agent.system import descendants
from rollway.tools.sandboxes.orphans import base_folder, marked_processes

NOTHING: dict[str, list[str]] = {"processes": [], "folders": [], "cgroups": [], "mounts": []}


def left_on_host(owner: str) -> dict[str, list[str]]:
    """Processes, folders, cgroups and mounts that carry the name of an owner."""
    marked = [(pid, marker) for pid, marker in marked_processes() if marker.parent.name == owner]
    folder = base_folder() / owner
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "processes": [f"{pid} {marker.name}" for pid, marker in marked],
        "folders": [str(path) for path in folder.iterdir()] if folder.exists() else [],
        "cgroups": [
            os.path.join(above, name)
            for above, names, _ in os.walk("/sys/fs/cgroup")  # which others make and remove meanwhile
            for name in names
            if name.startswith(f"rollway.{owner}.")
        ],
        "mounts": [line for line in mounts if owner in line],
    }


class OurOwn:
    """Descriptors, threads and children of this process that were not there when this was made.

    What other tests have left may end meanwhile, and is none of it.
    """

    def __init__(self) -> None:
        self._files, self._threads, self._children = _descriptors(), set(threading.enumerate()), _children()

    def descriptors(self) -> list[str]:
        """What they lead to."""
        return list((_descriptors() - self._files).elements())

    def threads(self) -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread not in self._threads]

    def children(self) -> set[int]:
        """Process ids; a zombie counts."""
        return _children() - self._children


def _descriptors() -> Counter[str]:
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            found[os.readlink(f"/proc/self/fd/{name}")] += 1
        except OSError:  # the listing's own
            pass
    return found


def _children() -> set[int]:
    return {one.pid for one in descendants(os.getpid()) if one.parent == os.getpid()}
