"""Where the bars and words of the report's two charts stand, in SVG pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from rollway.evaluation.tallies import Bin

WIDTH, HEIGHT = 420, 200
LINE = 20  # pixels of one line of text
LABELS = 130  # pixels for the names of horizontal bars
MOST_LABELS = 10  # marks under a histogram that do not run into each other
COLUMN = 60  # pixels that a column is wide at most


class Bar(msgspec.Struct, frozen=True):
    x: float
    y: float
    width: float
    height: float
    label: str
    count: int


class Mark(msgspec.Struct, frozen=True):
    x: float
    y: float
    text: str
    anchor: str = "middle"  # "start", "middle" or "end"


class Chart(msgspec.Struct, frozen=True):
    width: int
    height: int
    bars: list[Bar]
    marks: list[Mark]


def columns(bins: Sequence[Bin]) -> Chart | None:
    """A histogram, its bars upright. ``None`` without a bar."""
    if not bins:
        return None
    most = max(bin.count for bin in bins)
    step = min(WIDTH / len(bins), COLUMN)
    room = HEIGHT - 2 * LINE
    every = -(-len(bins) // MOST_LABELS)
    bars, marks = [], []
    for i, bin in enumerate(bins):
        height = bin.count / most * room
        label = f"{bin.low:.3g}" if bin.low == bin.high else f"{bin.low:.3g} to {bin.high:.3g}"
        bars.append(_bar(i * step + 1, LINE + room - height, step - 2, height, label, bin.count))
        if i % every == 0:
            marks.append(Mark(round(i * step + step / 2, 1), HEIGHT - 5, f"{bin.low:.3g}"))
        if bin.count == most:
            marks.append(Mark(round(i * step + step / 2, 1), LINE - 5, f"{bin.count:,}"))
    return Chart(WIDTH, HEIGHT, bars, marks)


def rows(counts: Mapping[str, int]) -> Chart | None:
    """Horizontal bars with their names before them and their counts behind. ``None`` without one."""
    if not counts:
        return None
    most = max(counts.values())
    room = WIDTH - LABELS - 70
    bars, marks = [], []
    for i, (name, count) in enumerate(counts.items()):
        width = count / most * room
        bars.append(_bar(LABELS, i * LINE + 3, width, LINE - 6, name, count))
        marks.append(Mark(LABELS - 6, i * LINE + 14, name, "end"))
        marks.append(Mark(round(LABELS + width + 6, 1), i * LINE + 14, f"{count:,}", "start"))
    return Chart(WIDTH, len(counts) * LINE, bars, marks)


def _bar(x: float, y: float, width: float, height: float, label: str, count: int) -> Bar:
    return Bar(round(x, 1), round(y, 1), round(width, 1), round(height, 1), label, count)
