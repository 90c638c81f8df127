"""Who we are to the kernel, and so how a sandbox gets a user of its own.

As root, without a user namespace: the kernel bounds the processes of every user but root, so each sandbox
becomes a user that nobody else is. As anyone else: a user namespace, in which the kernel counts for itself.
"""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

CAP_SYS_ADMIN = 21
MOST_PIDS = 1 << 22  # more than any process id
HIGH_USERS = 1 << 30  # far above what systems give to people, services and containers
NAMESPACE_USER = 1000  # inside a user namespace


@cache
def first_user() -> int | None:
    """Sandboxes may be the users from here on, `user_of` a process id. ``None``: we are not root, or a root
    with too little power or too few users for that."""
    capabilities = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    if os.geteuid() != 0 or not capabilities or not int(capabilities[1], 16) >> CAP_SYS_ADMIN & 1:
        return None
    spans = [[int(field) for field in line.split()] for line in _lines("/proc/self/uid_map")]
    if any(start <= HIGH_USERS and start + count >= HIGH_USERS + MOST_PIDS for start, _, count in spans):
        return HIGH_USERS
    return None


def counts_processes_per_namespace() -> bool:
    """Does the kernel count a user's processes in each user namespace by themselves (since Linux 5.14)?"""
    major, minor = (int(part) for part in platform.release().split(".")[:2])
    return (major, minor) >= (5, 14)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
