"""How often Python looks for garbage in cycles while a run goes on.

With thousands of rollouts in flight nearly every object is alive, and none of the engine's is in a cycle: to
look at them all, again and again, took a quarter of the CPU at 256 rollouts in flight, and more than half at
4,096. What is there when a run begins is set aside, and new objects are looked at less often. Cycles that an
environment or a library makes are still found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (50_000, 20, 50)
"""New objects before the young are looked at; how many such looks before the middle; of these before all."""


def collect_rarely() -> None:
    """For a process that does nothing but rollouts, to its end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """For a while; then everything is as it was."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not frozen:  # else somebody had set objects aside before us
            gc.unfreeze()
