"""Whatever a tool returns becomes text that can be sent, stored and paid for, or an error that says why."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from rollway.tools import ToolOutput
from rollway.tools.results import NotJson, ToolAnswer, cut_middle, printable, read_output


class Word(str, enum.Enum):  # noqa: UP042 (whose `str()` is not its value)
    YES = "yes"


class Model(BaseModel):
    when: datetime.date


class Record(msgspec.Struct):
    x: int


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("as is\n", "as is\n"),
        ("", ""),
        (3, "3"),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": [1, None], "é": "ü"}, '{"a":[1,null],"é":"ü"}'),
        ((1, 2), "[1,2]"),
        ({3}, "[3]"),
        (Word.YES, "yes"),
        (Point(1), '{"x":1}'),
        ([Point(1), Record(2)], '[{"x":1},{"x":2}]'),
        (Model(when=datetime.date(2024, 1, 2)), '{"when":"2024-01-02"}'),
        (np.int64(3), "3"),
        (np.arange(3), "[0,1,2]"),
    ],
)
def test_values_become_compact_json_and_text_stays(value: Any, text: str) -> None:
    answer = read_output(value)
    assert answer == ToolAnswer(text)
    assert type(answer.content) is str


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value", [object(), {(1, 2): 3}, math.nan, [math.inf], np.array([math.nan]), CIRCLE, print, b"\xff"]
)
def test_what_json_cannot_say_is_an_error_in_words(value: Any) -> None:
    with pytest.raises(NotJson, match="it returned a"):
        read_output(value)


def test_a_value_nested_deeper_than_json_can_be_read_is_an_error_in_words() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotJson, match="it returned a"):
        read_output(deep)


def test_a_tool_output_says_whether_it_went_well_and_whether_to_stop() -> None:
    assert read_output(ToolOutput({"a": 1}, stop=True)) == ToolAnswer('{"a":1}', stop=True)
    assert read_output(ToolOutput("no", ok=False)) == ToolAnswer("no", ok=False)


@pytest.mark.parametrize(
    ("value", "ok"),
    [({"error": "x"}, False), ({"error": None}, True), ({"error": ""}, True), ("error", True)],
)
def test_a_dict_with_a_true_error_is_not_ok(value: Any, ok: bool) -> None:
    assert read_output(value).ok is ok


def test_every_text_can_be_written_as_utf8() -> None:
    assert printable("a\ud800b é") == "a?b é"
    assert printable("plain") == "plain"
    json.dumps(printable(read_output({"a": "\udfff"}).content)).encode()


@settings(max_examples=50)
@given(st.text(), st.integers(0, 200))
def test_cutting_keeps_both_ends_and_says_how_much_is_gone(text: str, limit: int) -> None:
    text = text * 20
    cut = cut_middle(text, limit)
    if len(text) <= limit:
        assert cut == text
        return
    head, _, rest = cut.partition("\n[... ")
    number, _, tail = rest.partition(" characters cut ...]\n")
    assert len(cut) <= max(limit, len(f"\n[... {len(text)} characters cut ...]\n"))
    assert len(head) + int(number) + len(tail) == len(text)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert 0 <= len(head) - len(tail) <= 2
