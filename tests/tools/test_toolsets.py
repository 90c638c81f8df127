"""A group's toolsets are drawn by seed and group alone, with the probabilities that were asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.errors import UserError
from rollway.tools import tool
from rollway.tools.toolsets import Combination, ToolsetDistribution, tools_of

BOTH = ToolsetDistribution({"files": 0.8, "terminal": 0.5})
PAIRS = ToolsetDistribution(one_of=(Combination(("files", "terminal"), 3), Combination(("python",), 1)))


def shares(distribution: ToolsetDistribution, draws: int = 4000) -> dict[tuple[str, ...], float]:
    counts: dict[tuple[str, ...], int] = {}
    for group in range(draws):
        drawn = distribution.sample(f"group-{group}", 7)
        counts[drawn] = counts.get(drawn, 0) + 1
    return {drawn: count / draws for drawn, count in counts.items()}


def test_each_comes_with_its_probability_among_the_draws_that_count() -> None:
    found = shares(BOTH)
    assert set(found) == {("files",), ("terminal",), ("files", "terminal")}
    assert found["files",] == pytest.approx(0.4 / 0.9, abs=0.03)
    assert found["terminal",] == pytest.approx(0.1 / 0.9, abs=0.03)
    empty = shares(ToolsetDistribution(BOTH.each, may_be_empty=True))
    assert empty[()] == pytest.approx(0.1, abs=0.02)


def test_combinations_come_by_weight() -> None:
    found = shares(PAIRS)
    assert found == pytest.approx({("files", "terminal"): 0.75, ("python",): 0.25}, abs=0.03)


def test_a_draw_is_the_same_in_every_process() -> None:
    program = (
        "from rollway.tools.toolsets import ToolsetDistribution as D;"
        "d = D({'files': 0.8, 'terminal': 0.5});"
        "print([d.sample(f'g{i}', 3) for i in range(20)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {str([BOTH.sample(f"g{i}", 3) for i in range(20)])}
    assert BOTH.sample("g0", 3) == ("terminal",)  # and in every version: runs are gone on with


probabilities = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-300, 1e-17, 1 - 1e-16])


@given(st.dictionaries(st.text(max_size=3), probabilities, min_size=1, max_size=5), st.text(), st.integers())
def test_a_draw_is_never_empty_unless_that_was_asked_for(
    each: dict[str, float], group: str, seed: int
) -> None:
    if not any(each.values()):
        with pytest.raises(ValueError, match="probability 0"):
            ToolsetDistribution(each)
        return
    drawn = ToolsetDistribution(each).sample(group, seed)
    assert drawn
    assert drawn == ToolsetDistribution(each).sample(group, seed)
    assert list(drawn) == [name for name in each if name in drawn]
    assert all(each[name] > 0 for name in drawn)
    assert all(name in drawn for name, probability in each.items() if probability == 1)


def test_another_seed_draws_otherwise() -> None:
    assert [BOTH.sample(f"g{i}", 1) for i in range(50)] != [BOTH.sample(f"g{i}", 2) for i in range(50)]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"each": {"a": 1.5}},
        {"each": {"a": 0}},
        {"each": {"a": 1}, "one_of": [{"toolsets": ["a"]}]},
        {"one_of": [{"toolsets": []}]},
        {"one_of": [{"toolsets": ["a"], "weight": 0}]},
        {"one_of": [{"toolsets": ["a"], "weight": -1}]},
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, ToolsetDistribution)


def test_a_combination_is_never_the_letters_of_a_name() -> None:
    with pytest.raises(ValueError, match=r"must be a tuple: \('files',\)"):
        Combination("files")  # type: ignore[arg-type]


def test_the_tools_of_some_sets_come_once_each() -> None:
    @tool
    def a() -> None: ...
    @tool
    def b() -> None: ...

    sets = {"one": (a, b), "two": (b,)}
    assert tools_of(("two", "one"), sets) == (b, a)
    with pytest.raises(UserError, match=r"unknown toolset 'on' \(did you mean 'one'"):
        tools_of(("on",), sets)


def test_the_names_that_may_be_drawn_are_known() -> None:
    assert BOTH.names == ("files", "terminal")
    assert PAIRS.names == ("files", "terminal", "python")
