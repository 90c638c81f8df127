"""How work grows with its text, as a ratio of two sizes: no machine is too slow for it, and none too busy."""

from __future__ import annotations

import time
from collections.abc import Callable

SMALL, TIMES = 25_000, 4
"""Characters of the smaller text, and by what the larger one is longer."""

LINEAR = 8.0
"""Ratio between linear work (4) and quadratic work (16)."""

NOTHING = 0.005
"""CPU seconds for the larger text, up to which its growth cannot be told from noise."""


def grows_linearly(work: Callable[[str], object], text: Callable[[int], str]) -> bool:
    """Does ``work(text(size))`` grow with the size, and not with its square? ``size`` is in characters.

    What grows too fast does so each time; noise does not.
    """
    return any(_ratio(work, text(SMALL), text(TIMES * SMALL)) < LINEAR for _ in range(3))


def _ratio(work: Callable[[str], object], small: str, large: str) -> float:
    spent = _seconds(work, large)
    return 0.0 if spent < NOTHING else spent / max(_seconds(work, small), 1e-6)


def _seconds(work: Callable[[str], object], text: str) -> float:
    before = time.thread_time()  # what other tests left running counts for nothing
    work(text)
    return time.thread_time() - before
