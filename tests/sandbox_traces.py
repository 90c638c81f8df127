"""What the sandboxes of one owner have on the host at this moment."""

from __future__ import annotations

from pathlib import Path

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
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/rollway.{owner}.*")],
        "mounts": [line for line in mounts if owner in line],
    }
