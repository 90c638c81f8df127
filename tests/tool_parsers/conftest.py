"""Shared by the parser tests: the recorded cases, and comparison of JSON values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def same_json() -> Callable[[Any, Any], bool]:
    """Equality of JSON values: numbers by value, but `true` is not 1."""

    def same(left: Any, right: Any) -> bool:
        if isinstance(left, bool) or isinstance(right, bool):
            return left is right
        if isinstance(left, int | float) and isinstance(right, int | float):
            return left == right
        if type(left) is not type(right):
            return False
        if isinstance(left, dict):
            return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
        if isinstance(left, list):
            return len(left) == len(right) and all(map(same, left, right))
        return bool(left == right)

    return same


@pytest.fixture(scope="session")
def recorded_texts() -> dict[str, list[str]]:
    """The texts of the recorded cases that are short enough to play with, by format."""
    texts: dict[str, list[str]] = {}
    for line in (DATA / "tool_calls.jsonl").read_text("utf-8").splitlines():
        case = json.loads(line)
        if len(case["text"]) < 2000:
            texts.setdefault(case["format"], []).append(case["text"])
    return texts
