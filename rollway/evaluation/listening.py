"""Handlers that hear more than their logger let through, and put its level back as they go.

The invariant: blocks that overlap may end in any order, as those of two runs in one process do. Each hears
what it asked for to its end, and the level is what it was when the last of them has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_BEFORE = "level_before"
"""An attribute of the handlers: the level that the logger had before the first of them."""


@contextmanager
def listening(logger: logging.Logger, handler: logging.Handler, level: int) -> Iterator[None]:
    """In the block, ``handler`` hears what ``logger`` is told, from ``level`` on."""
    others = _listening(logger)
    setattr(handler, _BEFORE, getattr(others[0], _BEFORE) if others else logger.level)
    logger.addHandler(handler)
    lowered = min(logger.getEffectiveLevel(), level)
    logger.setLevel(lowered)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        if not _listening(logger) and logger.level == lowered:  # else somebody else has set it since
            logger.setLevel(getattr(handler, _BEFORE))


def _listening(logger: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in logger.handlers if hasattr(handler, _BEFORE)]
