"""Any value becomes what JSON can say, and what is lost by it is named."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import uuid
from collections import OrderedDict, deque
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.plain_values import MOST_DEPTH, plain


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: Any


class Pair(NamedTuple):
    a: int
    b: int


class Record(msgspec.Struct):
    x: Any


class Model(pydantic.BaseModel):
    x: int


class Tensor:
    """As much of a torch tensor as is looked at."""

    def __init__(self, numbers: Any) -> None:
        self._numbers = numbers

    def tolist(self) -> Any:
        return self._numbers


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.arange(3), [0, 1, 2]),
        (np.array(2.5), 2.5),
        (np.array([["a"], ["b"]]), [["a"], ["b"]]),
        (np.datetime64("2026-01-01"), "2026-01-01"),
        (Tensor([[1.0], [2.0]]), [[1.0], [2.0]]),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (deque([1]), [1]),
        (range(2), [0, 1]),
        ({"a": 1}.keys(), ["a"]),
        (Pair(1, 2), [1, 2]),
        (OrderedDict(a=(1,)), {"a": [1]}),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Point(Colour.RED), {"x": "red"}),
        (Record(Point(1)), {"x": {"x": 1}}),
        (Model(x=1), {"x": 1}),
        (pathlib.Path("/x"), "/x"),
        (datetime.datetime(2026, 1, 1), "2026-01-01T00:00:00"),
        (datetime.date(2026, 1, 1), "2026-01-01"),
        (datetime.timedelta(days=1), "P1D"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.5"), "1.5"),
        (Fraction(1, 2), 0.5),
        (b"abc", "abc"),
        (ValueError("x"), "ValueError: x"),
        (KeyError(), "KeyError"),
        ("a\ud800b", "a?b"),
        (2**100, 2**100),
        ({1: "a", None: "b", False: "c"}, {"1": "a", "null": "b", "false": "c"}),
        ({np.int64(2): "d", pathlib.Path("p"): "e"}, {"2": "d", "p": "e"}),
    ],
)
def test_what_can_be_said_is_said(value: Any, made: Any) -> None:
    assert plain(value) == (made, [])
    assert_plain(plain(value)[0])


class Broken:
    def tolist(self) -> Any:
        raise RuntimeError("gone")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("mute")


CIRCLE: list[Any] = [1]
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "made", "lost"),
    [
        (math.nan, None, ["it: nan is no number of JSON"]),
        (np.array([math.inf, 1]), [None, 1.0], ["it[0]: inf is no number of JSON"]),
        (object(), None, ["it: object cannot be converted to JSON"]),
        (int, None, ["it: class int cannot be converted to JSON"]),
        (print, None, ["it: builtin_function_or_method cannot be converted to JSON"]),
        (b"\xff", None, ["it: its bytes are not UTF-8 text"]),
        ({"a": {"b": object(), "c": 1}}, {"a": {"c": 1}}, ["it['a']['b']: object cannot be"]),
        ([1, object()], [1, None], ["it[1]: object cannot be converted to JSON"]),
        ({(1, 2): "a", "b": 1}, {"b": 1}, ["it[(1, 2)]: a tuple cannot be a key"]),
        ({1: "a", "1": "b"}, {"1": "a"}, ["it['1']: another key is '1' as a text, too"]),
        ([1, Broken()], [1, None], ["it[1]: to read the Broken raised RuntimeError: gone"]),
        (CIRCLE, [1, None], ["it[1]: it holds itself"]),
        pytest.param(10**5000, None, ["it: it has more digits than can be written"], id="digits"),
    ],
)
def test_what_cannot_be_said_is_left_out_by_itself_and_named(value: Any, made: Any, lost: list[str]) -> None:
    found, told = plain(value, "it")
    assert found == made
    assert len(told) == len(lost)
    assert all(line.startswith(start) for line, start in zip(told, lost, strict=True))


def test_an_exception_that_cannot_say_itself_is_its_type() -> None:
    assert plain(Mute()) == ("Mute", [])


def test_what_is_nested_without_end_ends_in_a_line() -> None:
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(100_000):
        inner["a"] = inner = {}
    made, told = plain(deep)
    depth = 0
    while made:
        made, depth = made.get("a"), depth + 1
    assert depth <= MOST_DEPTH
    assert len(told) == 1
    assert told[0].endswith("it is nested too deeply")
    assert len(told[0]) < 200


def test_of_many_losses_the_first_are_told_and_the_others_counted() -> None:
    made, told = plain(np.full(1000, math.nan))
    assert made == [None] * 1000
    assert told[-1] == "and 990 more"
    assert len(told) == 11


def assert_plain(value: Any) -> None:
    """Of the plain types themselves, no subclasses."""
    assert type(value) in (type(None), bool, int, float, str, list, dict)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        assert_plain(inner)


leaves = st.one_of(
    *[st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary()],
    *[st.dates(), st.datetimes(), st.times(), st.timedeltas(), st.decimals(), st.fractions(), st.uuids()],
    st.complex_numbers(),
    st.floats(width=32).map(np.float32),
    st.lists(st.floats()).map(np.array),
    st.sampled_from(
        [object(), print, Colour.RED, Level.HIGH, Broken(), Mute(), CIRCLE, Pair(1, 2), "\udfff"]
    ),
)
keys = st.one_of(st.text(st.characters()), st.integers(), st.floats(), st.none(), st.booleans(), st.binary())
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner, max_size=4),
        st.builds(Point, inner),
        st.builds(Record, inner),
    ),
    max_leaves=8,
)


@given(anything)
def test_whatever_it_was_it_is_plain_and_read_back_equal(value: Any) -> None:
    made, _ = plain(value)
    assert_plain(made)
    assert msgspec.json.decode(msgspec.json.encode(made)) == made
    assert plain(made) == (made, [])
