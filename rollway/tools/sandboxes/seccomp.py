"""The system calls that a sandbox goes without: new namespaces, mounts, and what exposes much of the kernel.

A user namespace would make a command a root of its own, with mounts and network devices to attack the kernel
by. The filter is a BPF program as the kernel takes it; a call that it denies fails as a forbidden one does.
"""

from __future__ import annotations

import errno
import platform
import struct
from functools import cache

_DENIED = (
    *("acct", "add_key", "bpf", "chroot", "delete_module", "finit_module", "fsconfig", "fsmount", "fsopen"),
    *("fspick", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "kexec_load"),
    *("keyctl", "mount", "mount_setattr", "move_mount", "open_by_handle_at", "open_tree", "perf_event_open"),
    *("pivot_root", "quotactl", "reboot", "request_key", "setns", "swapon", "syslog", "umount2"),
    "userfaultfd",
)

_EVERYWHERE = {"clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
_EVERYWHERE |= {"open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432}
_EVERYWHERE |= {"fspick": 433, "mount_setattr": 442}

_X86_64 = _EVERYWHERE | {"clone": 56, "syslog": 103, "pivot_root": 155, "chroot": 161, "acct": 163}
_X86_64 |= {"mount": 165, "umount2": 166, "swapon": 167, "reboot": 169, "init_module": 175}
_X86_64 |= {"delete_module": 176, "quotactl": 179, "kexec_load": 246, "add_key": 248, "request_key": 249}
_X86_64 |= {"keyctl": 250, "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308}
_X86_64 |= {"finit_module": 313, "bpf": 321, "userfaultfd": 323}

_AARCH64 = _EVERYWHERE | {"umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "quotactl": 60}
_AARCH64 |= {"acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106}
_AARCH64 |= {"syslog": 116, "reboot": 142, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220}
_AARCH64 |= {"swapon": 224, "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268}
_AARCH64 |= {"finit_module": 273, "bpf": 280, "userfaultfd": 282}

_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}  # by `uname -m`
_FOREIGN_CALLS = 0x40000000  # from here on, on x86_64: the calls of another binary interface

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in what the filter is shown
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_CLONE_NEWUSER = 0x10000000


@cache
def program() -> bytes | None:
    """The filter for this machine; ``None`` where its system calls are not known here."""
    if platform.machine() not in _MACHINES:
        return None
    machine, numbers = _MACHINES[platform.machine()]
    # (operation, value, label where true, label where false); an empty label is the next instruction
    code: list[tuple[int, int, str, str]] = [
        (_LOAD, _MACHINE, "", ""),
        (_IF_EQUAL, machine, "", "unknown"),
        (_LOAD, _NUMBER, "", ""),
        (_IF_AT_LEAST, _FOREIGN_CALLS, "unknown", ""),
        *((_IF_EQUAL, numbers[name], "denied", "") for name in _DENIED),
        (_IF_EQUAL, numbers["clone3"], "unknown", ""),  # its flags cannot be seen; libraries then use clone
        (_IF_EQUAL, numbers["clone"], "flags", ""),
        (_IF_EQUAL, numbers["unshare"], "flags", "allowed"),
    ]
    ends = {"flags": len(code), "allowed": len(code) + 2, "denied": len(code) + 3, "unknown": len(code) + 4}
    code += [
        (_LOAD, _FIRST_ARGUMENT, "", ""),
        (_IF_ANY, _CLONE_NEWUSER, "denied", ""),
        (_RETURN, _ALLOW, "", ""),
        (_RETURN, _FAIL | errno.EPERM, "", ""),
        (_RETURN, _FAIL | errno.ENOSYS, "", ""),
    ]
    return b"".join(
        struct.pack(
            "HBBI",
            operation,
            ends[true] - place - 1 if true else 0,
            ends[false] - place - 1 if false else 0,
            value,
        )
        for place, (operation, value, true, false) in enumerate(code)
    )
