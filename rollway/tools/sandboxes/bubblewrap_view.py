"""What a bubblewrap sandbox sees: the arguments of `bwrap`, and the Python inside.

The system is read-only, of /etc there are only the parts that programs need, everything that can be written
to is a memory file system with a size of its own, and nothing of the host is visible besides.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rollway.errors import UserError
from rollway.tools.sandboxes.launching import base_python
from rollway.tools.sandboxes.spec import SandboxSpec

WORKSPACE = "/workspace"
HOME = "/home/sandbox"
SCRATCH = ("/tmp", HOME, "/dev/shm")  # each may hold a quarter of what the workspace may
WRITTEN = ("/etc/passwd", "/etc/group", "/etc/hosts")  # by the agent, before anything else runs

ETC = (
    *("alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "gai.conf", "host.conf"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "perl"),
    *("pki/ca-trust/extracted", "pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "python3", "services"),
    *("ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone"),
)
SYSTEM_PYTHON = "/usr/bin/python3"
OWN = Path(__file__).resolve().parents[2]
"""Our package: the checks and solutions of tasks are in it, so it is not shown where the system's folders or
Python's hold it."""

# As root: what the agent needs to give the workspace to another user and become that user.
CAPABILITIES = ("CAP_CHOWN", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP")


@dataclass(frozen=True, slots=True)
class Python:
    """The interpreter in the sandbox."""

    path: str
    prefix: str | None  # to be bound at its own path; None where the system's folders hold it
    is_ours: bool  # the very version that we run on


@cache
def find_python(*, as_root: bool) -> Python:
    """Our own interpreter where the sandbox's user can read it, else the system's.

    Raises:
        UserError: there is neither.
    """
    own, prefix = base_python(), os.path.realpath(sys.base_prefix)
    if _readable(Path(own), as_root) and _readable(Path(os.__file__), as_root):
        in_system = Path(prefix).is_relative_to("/usr")
        return Python(own, None if in_system else prefix, True)
    if os.access(SYSTEM_PYTHON, os.X_OK):
        return Python(SYSTEM_PYTHON, None, False)
    raise UserError(
        f"the sandbox's user cannot read {prefix}, and there is no {SYSTEM_PYTHON}: install python3"
    )


def _readable(path: Path, as_root: bool) -> bool:
    """As root, bwrap makes the folders on the way anew; the file itself is read by another user."""
    if as_root:
        return bool(path.stat().st_mode & stat.S_IROTH)
    return os.access(path, os.R_OK)


def arguments(
    spec: SandboxSpec,
    python: Python,
    *,
    as_root: bool,
    can_disable_userns: bool,
    empty: Sequence[int],
    filter_file: int | None,
) -> list[str]:
    """What follows ``bwrap``, up to the command.

    Args:
        as_root: no user namespace; the agent becomes another user by itself.
        empty: descriptors of empty files, one for each of `WRITTEN`.
        filter_file: descriptor of the system call filter, where there is one.
    """
    found = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--as-pid-1"]
    found += ["--new-session", "--hostname", "sandbox", "--chdir", "/"]
    if filter_file is not None:
        found += ["--seccomp", str(filter_file)]
    if not spec.network:
        found += ["--unshare-net"]
    if as_root:
        found += ["--cap-drop", "ALL"]
        for capability in CAPABILITIES:
            found += ["--cap-add", capability]
    else:
        found += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
        found += ["--disable-userns"] if can_disable_userns else []
    found += _folders(
        [
            *WRITTEN,
            *(f"/etc/{name}" for name in ETC),
            *SCRATCH,
            "/var/tmp",
            *(mount.target for mount in spec.mounts),
        ]
    )
    found += _system(python)
    found += _hiding([str(OWN), *spec.hidden], python)
    for file, path in zip(empty, WRITTEN, strict=True):
        found += ["--perms", "0644", "--bind-data", str(file), path]
    if spec.network:
        found += ["--ro-bind-try", os.path.realpath("/etc/resolv.conf"), "/etc/resolv.conf"]
    found += ["--proc", "/proc", "--dev", "/dev", "--symlink", "../tmp", "/var/tmp"]
    found += ["--size", str(spec.limits.disk), "--perms", "0700", "--tmpfs", WORKSPACE]
    for path in SCRATCH:
        mode = "0700" if path == HOME else "1777"
        found += ["--size", str(max(4096, spec.limits.disk // 4)), "--perms", mode, "--tmpfs", path]
    memory = (WORKSPACE, *SCRATCH)
    found += _folders(  # once more: what was made there before lies below the memory file systems
        [
            mount.target
            for mount in spec.mounts
            if any(Path(mount.target).is_relative_to(top) for top in memory)
        ]
    )
    for mount in spec.mounts:
        found += ["--bind" if mount.writable else "--ro-bind", mount.source, mount.target]
    return [*found, "--remount-ro", "/dev", "--remount-ro", "/"]


def _folders(paths: Sequence[str]) -> Iterator[str]:
    """The folders above these, which all may pass: left to itself, bwrap makes them for root alone."""
    above = {parent for path in paths for parent in Path(path).parents}
    for folder in sorted(above - {Path("/"), Path(WORKSPACE), *map(Path, SCRATCH)}):
        yield from ("--perms", "0755", "--dir", str(folder))


def _system(python: Python) -> Iterator[str]:
    if python.prefix is not None:
        yield from _folders([python.prefix])
        yield from ("--ro-bind", python.prefix, python.prefix)
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = f"/{name}"
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        elif os.path.isdir(path):
            yield from ("--ro-bind", path, path)
    for name in ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _hiding(paths: Sequence[str], python: Python) -> Iterator[str]:
    """What of these the system's folders would show is an empty folder, or a file that cannot be read."""
    shown = [folder for folder in ("/usr", python.prefix) if folder is not None]
    for path in dict.fromkeys(os.path.realpath(path) for path in paths):
        if not any(Path(path).is_relative_to(folder) for folder in shown) or path in shown:
            continue
        if os.path.isdir(path):
            yield from ("--size", "4096", "--perms", "0555", "--tmpfs", path, "--remount-ro", path)
        elif os.path.exists(path):
            yield from ("--ro-bind", "/dev/null", path)


def written_files(user: int) -> dict[str, str]:
    """The content of `WRITTEN`."""
    return {
        "/etc/passwd": f"root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
        f"sandbox:x:{user}:{user}:sandbox:{HOME}:/bin/bash\n",
        "/etc/group": f"root:x:0:\nsandbox:x:{user}:\n",
        "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    }
