"""Examples that hypothesis draws once in a process, for tests that hold many formats to them.

Drawing costs more than reading what was drawn, and draws nothing new for the next format. The profile decides
as everywhere: ``same`` draws the same examples in every run, ``search`` others.
"""

from __future__ import annotations

from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

Example = TypeVar("Example")


def examples(strategy: SearchStrategy[Example], count: int) -> list[Example]:
    """``count`` examples at most: a small strategy has fewer."""
    drawn: list[Example] = []

    @settings(
        max_examples=count, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def draw(example: Example) -> None:
        drawn.append(example)

    draw()
    return drawn
