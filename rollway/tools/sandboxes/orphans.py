"""What a dead worker left on the host, and its end.

Every folder and process of a sandbox carries a marker, ``<temp>/rollway-sandboxes-<uid>/<owner>/<sandbox>``,
and an owner is named by its PID namespace, process id and start time. Only what belongs to an owner of our
own PID namespace that is no longer there is ever touched.
"""

from __future__ import annotations

import os
import signal
import tempfile
from functools import cache
from pathlib import Path

from rollway.tools.sandboxes import cgroups
from rollway.tools.sandboxes.agent.folders import remove_folder
from rollway.tools.sandboxes.agent.system import process
from rollway.tools.sandboxes.protocol import SandboxError

MARKER = "ROLLWAY_SANDBOX"  # the variable by which the processes of a sandbox are found


def base_folder() -> Path:
    """Where the folders of all owners lie; made where it is missing, and ours alone.

    Raises:
        SandboxError: it cannot be made, or is somebody else's.
    """
    try:
        base = Path(tempfile.gettempdir()).resolve() / f"rollway-sandboxes-{os.getuid()}"
        base.mkdir(mode=0o700, exist_ok=True)
        found = base.lstat()
    except OSError as error:
        raise SandboxError(f"no folder for sandboxes: {error}; set TMPDIR to another place") from error
    if found.st_uid != os.getuid() or base.is_symlink():
        raise SandboxError(f"{base} belongs to another user; remove it, or set TMPDIR")
    return base


def owner_name() -> str:
    """This process, in a name that no other process ever has."""
    own = process(os.getpid())
    assert own is not None
    return f"{_namespace()}-{own.pid}-{own.started}"


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def is_dead(owner: str) -> bool:
    """Is this an owner of our PID namespace, and no longer there? False for anything that is no owner."""
    try:
        namespace, pid, started = (int(part) for part in owner.split("-"))
    except ValueError:
        return False
    if namespace != _namespace():
        return False
    found = process(pid)
    return found is None or found.started != started or found.ended


@cache
def reap_orphans_once() -> None:
    """`reap_orphans`, at the first call in this process."""
    reap_orphans()


def reap_orphans() -> None:
    """End the processes and remove the folders and cgroups whose owners are dead."""
    base = base_folder()
    for pid, marker in marked_processes():
        if is_dead(marker.parent.name) and marker.parent.parent == base:
            _kill(pid, marker)
    for folder in base.iterdir():
        if is_dead(folder.name):
            try:
                remove_folder(str(folder))
            except OSError:
                pass  # another worker is at it, or it is not ours to remove
    cgroups.reap(is_dead)


def kill_marked(marker: Path) -> None:
    """End what is left of one sandbox."""
    for pid, found in marked_processes():
        if found == marker:
            _kill(pid, marker)


def marked_processes() -> list[tuple[int, Path]]:
    """Processes of sandboxes that we may see, with their markers."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and (marker := _marker_of(int(name))):
            found.append((int(name), marker))
    return found


def _marker_of(pid: int) -> Path | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return None
    start = MARKER.encode() + b"="
    return next((Path(os.fsdecode(v[len(start) :])) for v in variables if v.startswith(start)), None)


def _kill(pid: int, marker: Path) -> None:
    """Through a handle on the process, so that none is hit that has got its number meanwhile."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _marker_of(pid) == marker:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(handle)
