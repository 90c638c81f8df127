"""Work grows linearly with the text: long runs of tags, brackets, quotes and white space are no trap.

The bound is some ten times what is needed (see `benchmarks/bench_parsers.py`); quadratic work would pass
it many times over.
"""

from __future__ import annotations

import re
import time

import pytest

from rollway.tool_parsers import get_parser, list_parsers

SIZE = 200_000
CPU_SECONDS = 3.0


def openings(name: str) -> str:
    """What stands before the tool's name in the format's example."""
    return get_parser(name).format.example.split("get_weather")[0]


def runs(name: str) -> dict[str, str]:
    opening = openings(name)
    example = get_parser(name).format.example
    tags = re.findall(r"<[^<>\s]{1,40}>|\[[A-Z_]+\]", example)
    units = {
        "openings": opening or example[:2],
        "braces": "{",
        "brackets": "[",
        "quotes": '"',
        "spaces": " ",
        "opening and brace": opening + "{",
        "opening and quote": opening + '{"',
        "thoughts": "<think>",
        "calls": example + "\n",
        "calls cut short": example[: len(example) * 2 // 3],
    }
    texts = {label: unit * (SIZE // len(unit)) for label, unit in units.items()}
    for label in ("braces", "quotes", "spaces"):
        texts[f"{label} behind an opening"] = opening + texts[label]
    texts["openings, closed once"] = texts["openings"] + "".join(tags[-2:])
    texts["calls in one thought"] = texts["calls"] + "</think>"
    texts["opening in a string"] = example.replace("Oslo", texts["openings"])
    return texts


@pytest.mark.parametrize("name", list_parsers())
def test_long_runs_are_read_in_linear_time(name: str) -> None:
    parser = get_parser(name)
    slow = {}
    for label, text in runs(name).items():
        before = time.thread_time()  # what other tests left running counts for nothing
        parser.parse(text)
        spent = time.thread_time() - before
        if spent > CPU_SECONDS:
            slow[label] = spent
    assert not slow
