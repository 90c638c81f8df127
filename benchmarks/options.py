"""The options that benchmarks share: small and quick by default, ``--full`` for figures to be published."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable
from typing import Any


def parser(name: str, told: str, *, repeats: int = 3) -> argparse.ArgumentParser:
    """A parser with ``--full``, ``--rollouts`` and ``--repeats``."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=told)
    made.add_argument(
        "--full", action="store_true", help="as many rollouts and repeats as published figures have"
    )
    made.add_argument("--rollouts", type=int, help="of each row, whatever the row says")
    made.add_argument(
        "--repeats", type=int, help=f"of each row, the median counts (1, or {repeats} with --full)"
    )
    made.set_defaults(full_repeats=repeats)
    return made


def repeats(options: argparse.Namespace) -> int:
    return options.repeats or (options.full_repeats if options.full else 1)


def medians(runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The median of each number over several runs of one program, or the most where it is a worst case; the
    last of anything else."""
    runs = list(runs)
    told = {}
    for name, value in runs[-1].items():
        if isinstance(value, (int, float)):
            of_all = max if name.endswith("_max_ms") else statistics.median
            told[name] = of_all(run[name] for run in runs)
        else:
            told[name] = value
    return told


def table(heads: list[str], rows: Iterable[list[str]]) -> None:
    """Print columns, the first to the left and the others to the right."""
    lines = [heads, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    for line in lines:
        first, *others = (
            text.ljust(width) if at == 0 else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip(), flush=True)
