"""A control group per sandbox: the memory and the number of all its processes together.

One is made wherever this process may make them (version 1 or 2), and carries its owner's name, so that those
of dead owners can be told. Where none can be made a sandbox goes without, bounded per process only.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PREFIX = "rollway."
REMOVAL_TRIES = 200  # a group is busy for a moment after its last process has ended
REMOVAL_PAUSE = 0.01  # seconds


_KILL_COUNTS = ("memory.events", "memory.oom_control")  # of version 2, of version 1


@dataclass(frozen=True, slots=True)
class Parent:
    """A group of the system that we may make groups in."""

    folder: Path
    controllers: frozenset[str]  # of "memory" and "pids"
    version: int


@dataclass(frozen=True, slots=True)
class Group:
    """One sandbox's group; several folders where each controller has a tree of its own."""

    folders: tuple[Path, ...]

    def add(self, pid: int) -> None:
        """Put a process in; what it starts from then on is in it as well.

        Raises:
            OSError: it is gone, or we may not.
        """
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed something in it because its memory was used up."""
        return any(_kills(folder / file) for folder in self.folders for file in _KILL_COUNTS)

    async def remove(self) -> None:
        """Once its processes have ended. What is still in it is killed."""
        for folder in self.folders:
            for _ in range(REMOVAL_TRIES):
                if _removed(folder):
                    break
                await asyncio.sleep(REMOVAL_PAUSE)


def _kills(file: Path) -> int:
    try:
        counts = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counts.get("oom_kill", 0))


def make(owner: str, name: str, *, memory: int, processes: int) -> Group | None:
    """A group with limits on bytes and processes, or ``None`` where none can be made. Files of a memory file
    system count as memory of whoever wrote them."""
    folders: list[Path] = []
    for parent in parents():
        folder = parent.folder / f"{PREFIX}{owner}.{name}"
        try:
            folder.mkdir()
            folders.append(folder)
            for file, value in _bounds(parent, memory, processes):
                if (folder / file).exists():
                    (folder / file).write_text(str(value))
        except OSError:
            for made in folders:
                _removed(made)
            return None
    return Group(tuple(folders)) if folders else None


def _bounds(parent: Parent, memory: int, processes: int) -> Iterator[tuple[str, int]]:
    if "memory" in parent.controllers and parent.version == 1:
        yield "memory.limit_in_bytes", memory
        yield "memory.memsw.limit_in_bytes", memory
    elif "memory" in parent.controllers:
        yield "memory.max", memory
        yield "memory.swap.max", 0
    if "pids" in parent.controllers:
        yield "pids.max", processes


def reap(is_dead: Callable[[str], bool]) -> None:
    """Remove the groups of dead owners, and kill what is in them, which takes a moment to go. Blocks for some
    seconds at most; what is left then is for the next time."""
    left = [
        folder
        for parent in parents()
        for folder in parent.folder.glob(f"{PREFIX}*")
        if is_dead(folder.name.removeprefix(PREFIX).split(".")[0])
    ]
    for _ in range(REMOVAL_TRIES):
        left = [folder for folder in left if not _removed(folder)]
        if not left:
            return
        time.sleep(REMOVAL_PAUSE)


def _removed(folder: Path) -> bool:
    """Remove a group; False when something is in it, which is killed."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            return True  # never ours to remove
        for pid in _processes(folder):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return False
    return True


def _processes(folder: Path) -> list[int]:
    try:
        return [pid for line in (folder / "cgroup.procs").read_text().split() if (pid := int(line)) > 0]
    except OSError:
        return []


@cache
def parents() -> tuple[Parent, ...]:
    """Where groups can be made, with memory among their controllers; empty where they cannot."""
    mounts = list(_mounts())
    found: dict[str, Parent] = {}  # by controller
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        for version, options, root, point in mounts:
            if (version == 2) != (number == "0"):
                continue
            if version == 1 and not set(names.split(",")) <= options:
                continue
            inside = path.removeprefix(root) if root != "/" else path
            for parent in _candidates(Path(point + inside), version, names.split(",")):
                for controller in parent.controllers:
                    found.setdefault(controller, parent)
    return tuple(dict.fromkeys(found.values())) if "memory" in found else ()


def _mounts() -> Iterator[tuple[int, set[str], str, str]]:
    """Version, options, root and mount point of every group tree."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ")[:3]
        if kind in ("cgroup", "cgroup2"):
            root, point = fields.split(" ")[3:5]
            yield (2 if kind == "cgroup2" else 1), set(options.split(",")), root, point


def _candidates(own: Path, version: int, names: list[str]) -> Iterator[Parent]:
    """Our own group; in version 2 also the one above, as a group with processes has no limited children."""
    wanted = {"memory", "pids"}
    for folder in (own,) if version == 1 else (own, own.parent):
        if version == 1:
            controllers = wanted & set(names)
        else:
            try:
                controllers = wanted & set((folder / "cgroup.subtree_control").read_text().split())
            except OSError:
                continue
        if controllers and os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
            yield Parent(folder, frozenset(controllers), version)
