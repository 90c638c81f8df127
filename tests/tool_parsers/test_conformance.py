"""Every recorded case of every format is read as its expectation says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollway.tool_parsers import get_parser, list_parsers

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "data" / "tool_calls.jsonl").read_text("utf-8").splitlines()
]


def rule_of(case: dict[str, Any]) -> str:
    return case["category"].split("_")[0] if case["rule"] == "recover" else "conform"


def stripped(content: str | None) -> str | None:
    return (content or "").strip() or None


@pytest.mark.parametrize("case", CASES, ids=[f"{case['id']}-{case['category']}" for case in CASES])
def test_recorded_case(
    case: dict[str, Any],
    same_json: Callable[[Any, Any], bool],
    record_property: Callable[[str, object], None],
) -> None:
    record_property("rule", rule_of(case))
    record_property("format", case["format"])
    expected = case["expected"]

    parsed = get_parser(case["format"]).parse(case["text"], case["tools"])

    assert [str(error.kind) for error in parsed.errors] == expected["errors"]
    assert [call.name for call in parsed.tool_calls] == [call["name"] for call in expected["tool_calls"]]
    for call, wanted in zip(parsed.tool_calls, expected["tool_calls"], strict=True):
        assert same_json(json.loads(call.arguments), wanted["arguments"])
    if "content_contains" in expected:
        assert_in_order(parsed.content or "", expected["content_contains"])
    else:
        assert stripped(parsed.content) == stripped(expected["content"])


def assert_in_order(content: str, pieces: list[str]) -> None:
    position = 0
    for piece in pieces:
        position = content.index(piece, position) + len(piece)


def test_there_is_a_case_for_every_format() -> None:
    assert {get_parser(case["format"]).name for case in CASES} == set(list_parsers())
