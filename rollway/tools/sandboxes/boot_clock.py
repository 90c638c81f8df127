"""Moments on the clock by which a kernel tells when a process started.

However late an order reaches a sandbox that shares our kernel, it means the same moment there.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Moment(NamedTuple):
    """A moment of the past, for whoever shares our kernel and for whoever does not."""

    seconds: float  # since the start of the kernel
    boot: str  # which start of which kernel that was; "" where it cannot be known
    age: float  # seconds before now


def seconds_ago(age: float) -> Moment:
    """The moment ``age`` seconds before now."""
    boot = _boot()
    return Moment(time.clock_gettime(time.CLOCK_BOOTTIME) - age if boot else 0.0, boot, age)


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux
        return ""
