"""What a model writes as arguments is an object, nothing, or an error in words; never a crash."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.tools.arguments import InvalidArguments, parse_arguments, shown


@pytest.mark.parametrize("text", [None, "", " ", "\n\t ", "{}", " {} "])
def test_nothing_means_no_arguments(text: str | None) -> None:
    assert parse_arguments(text) == {}


def test_an_object_is_read_as_it_stands() -> None:
    assert parse_arguments('{"a": [1, {"b": null}], "é": "ü", "big": 12345678901234567890}') == {
        "a": [1, {"b": None}],
        "é": "ü",
        "big": 12345678901234567890,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "got [1]"),
        ("null", "got null"),
        ('"x"', 'got "x"'),
        ('"{\\"a\\": 1}"', "not wrapped in a string"),
        ("NaN", "NaN is no JSON number"),
        ("3", "got 3"),
        ("true", "got true"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ('{"a": 1e999}', "1e999 is out of range"),
        ('{"a": 1', "at the end of the text"),
        ("{'a': 1}", "character 2"),
        ('{"a": 1} trailing', "Extra data"),
        ('{"code": "line\nline"}', r"write a line break inside a string as \n"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
    ],
)
def test_anything_else_is_an_error_that_says_what_it_is(text: str, said: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        parse_arguments(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_arguments_that_are_no_text_are_an_error() -> None:
    with pytest.raises(InvalidArguments, match="not a Python dict"):
        parse_arguments({"a": 1})  # type: ignore[arg-type]


@settings(max_examples=50)
@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(InvalidArguments):
        assert isinstance(parse_arguments(text), dict)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), json_values))
def test_every_json_object_is_read_back_equal(value: dict[str, Any]) -> None:
    assert parse_arguments(json.dumps(value)) == value


@settings(max_examples=50)
@given(json_values)
def test_a_value_is_shown_in_one_short_line(value: Any) -> None:
    assert "\n" not in shown(value)
    assert len(shown(value)) < 6000


def test_a_value_of_any_depth_and_size_can_be_shown() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) < 100
    assert len(shown("x" * 10**6)) < 100
    assert len(shown({str(number): "y" * 1000 for number in range(1000)})) < 1000
    assert shown(math.inf) == "inf"
