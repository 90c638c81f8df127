"""What a check found. It travels in the trajectory's metadata, so that a score can be explained later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of a task's check."""

    reward: float  # 1.0 is solved; a check of its own may give less
    passed: list[str] = []  # names of partial checks
    failed: dict[str, str] = {}  # name -> why

    @property
    def solved(self) -> bool:
        return self.reward >= 1.0

    @property
    def share(self) -> float:
        """The share of partial checks that passed; the reward itself where there are none."""
        checks = len(self.passed) + len(self.failed)
        return len(self.passed) / checks if checks else self.reward


def verdict_from(stored: Mapping[str, Any]) -> Verdict:
    """A verdict as it stands in a record."""
    return msgspec.convert(stored, Verdict)


def unsolved(reason: str) -> Verdict:
    """The verdict when the check came to no end, for a reason that lies in what the policy left."""
    return Verdict(reward=0.0, failed={"check": reason})
