"""How many rollouts may be without a score: a number of them, or a share of what was asked.

``3`` are three rollouts, ``0.05`` and ``"5%"`` one of twenty.
"""

from __future__ import annotations

import re

MostFailed = int | float | str

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


def most_failed(given: MostFailed, asked: int) -> float:
    """Of ``asked`` rollouts, how many may be without a score.

    Raises:
        ValueError: it is neither a number of rollouts nor a share.
    """
    if isinstance(given, int) and given >= 0:
        return given
    if isinstance(given, float) and 0 <= given <= 1:
        return given * asked
    percent = _PERCENT.fullmatch(given) if isinstance(given, str) else None
    if percent is not None and float(percent[1]) <= 100:
        return float(percent[1]) * asked / 100
    raise ValueError(
        f"max_failed must be a number of rollouts (3) or a share of them (0.05 or 5%), not {given!r}"
    )
