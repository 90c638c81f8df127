"""When Python looks for garbage in cycles while a run goes on: when there is so much more that some may be.

With thousands of rollouts in flight nearly every object is alive, and none of the engine's is in a cycle. To
look at them all whenever some were made, as Python does, took a quarter of the CPU at 256 rollouts in flight,
and more than half at 4,096. What is there when a run begins is set aside, and the rest is looked at when it
has doubled: a run whose memory is steady is left alone, and cycles that an environment or a library makes are
found before they take more than what is in use.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from sys import getallocatedblocks

LOOK_SECONDS = 0.5
"""Between two looks at how much there is."""

GROWTH = 4_000_000
"""Blocks of memory, of some 30 to 60 bytes each, that are always let go uncollected."""

THRESHOLDS = (1_000_000, 10, 10)
"""As for `gc.set_threshold`: Python's own rule, for what is made while the event loop is held up."""


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """For as long as the block, on the running event loop; then everything is as it was."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    watching = asyncio.ensure_future(_watch())
    try:
        yield
    finally:
        watching.cancel()
        gc.set_threshold(*before)
        if not frozen:  # else somebody had set objects aside before us
            gc.unfreeze()


async def _watch() -> None:
    most = _most()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if getallocatedblocks() > most:
            gc.collect()
            most = _most()


def _most() -> int:
    """Blocks that may be there before the next collection, as seen after the last."""
    return 2 * getallocatedblocks() + GROWTH
