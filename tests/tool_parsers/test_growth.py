"""Work grows linearly with the text: long runs of tags, brackets, quotes and white space are no trap."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from growth import grows_linearly

from rollway.tool_parsers import get_parser, list_parsers


def openings(name: str) -> str:
    """What stands before the tool's name in the format's example."""
    return get_parser(name).format.example.split("get_weather")[0]


def runs(name: str, size: int) -> dict[str, str]:
    """Texts of about ``size`` characters."""
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
    texts = {label: unit * (size // len(unit)) for label, unit in units.items()}
    for label in ("braces", "quotes", "spaces"):
        texts[f"{label} behind an opening"] = opening + texts[label]
    texts["openings, closed once"] = texts["openings"] + "".join(tags[-2:])
    texts["calls in one thought"] = texts["calls"] + "</think>"
    texts["opening in a string"] = example.replace("Oslo", texts["openings"])
    return texts


def run(name: str, label: str) -> Callable[[int], str]:
    return lambda size: runs(name, size)[label]


@pytest.mark.parametrize("name", list_parsers())
def test_long_runs_are_read_in_linear_time(name: str) -> None:
    parser = get_parser(name)
    assert [label for label in runs(name, 1) if not grows_linearly(parser.parse, run(name, label))] == []
