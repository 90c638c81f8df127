"""What a turn's results may take is shared fairly, and what is not shown is told and can be kept."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rollway.tools import ExecutedCall, SandboxFileError
from rollway.tools.budgets import fair_shares, fitted, shares_of
from rollway.tools.kept_results import keep_whole, kept_path
from rollway.trajectory import ToolError, ToolErrorKind, ToolResult

sizes = st.lists(st.integers(0, 1000), max_size=12)


def call(name: str, content: str, **more: Any) -> ExecutedCall:
    return ExecutedCall(ToolResult(name, "tool", content, ok=True), **more)


@given(sizes, st.integers(0, 3000))
def test_shares_are_within_the_budget_and_fair(each: list[int], budget: int) -> None:
    shares = fair_shares(each, budget)
    assert sum(shares) == min(budget, sum(each))
    assert all(0 <= share <= size for share, size in zip(shares, each, strict=True))
    for share, size in zip(shares, each, strict=True):
        if share < size:  # whoever is cut has as much as anybody, but for what division leaves
            assert share >= max(shares) - len(each)


@given(sizes, st.integers(0, 3000), st.randoms())
def test_shares_are_in_the_order_of_the_results(each: list[int], budget: int, chance: Any) -> None:
    order = list(range(len(each)))
    chance.shuffle(order)
    shares = fair_shares(each, budget)
    shuffled = fair_shares([each[index] for index in order], budget)
    assert sorted(shuffled) == sorted(shares)
    assert all(share <= each[index] for share, index in zip(shuffled, order, strict=True))


def test_no_budget_cuts_nothing() -> None:
    assert fair_shares([5, 10**9], None) == [5, 10**9]


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=6), st.integers(600, 3000))
def test_what_is_shown_of_a_turn_is_within_its_budget(each: list[int], budget: int) -> None:
    calls = [call(str(index), "x" * size) for index, size in enumerate(each)]
    shown = fitted(calls, shares_of(calls, None, budget))
    assert sum(len(one.result.content) for one in shown) <= budget
    for one, size in zip(shown, each, strict=True):
        assert one.result.truncated_from == (size if len(one.result.content) < size else None)


def test_a_result_is_cut_from_its_whole_and_only_once() -> None:
    whole = "a" * 500 + "b" * 500
    error = ToolError(1, "tool", "{}", ToolErrorKind.TOOL_REPORTED, "e", whole)
    first = ExecutedCall(
        ToolResult("1", "tool", whole[:300] + "\n[...]\n", ok=False, truncated_from=1000), error, whole=whole
    )
    (shown,) = fitted([first], shares_of([first], 300, 100))
    assert shown.result.content.count("characters cut") == 1
    assert len(shown.result.content) <= 100
    assert shown.result.truncated_from == 1000
    assert shown.error is not None
    assert shown.error.tool_result == shown.result.content
    assert fitted([shown], shares_of([shown], 300, 100)) == [shown]


class Files:
    """A sandbox as far as results are kept in one."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}

    async def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        if len(data) > 2000:
            raise SandboxFileError(f"{path}: the disk is full")
        self.written[path] = data


async def test_what_is_cut_is_kept_whole_and_the_model_is_told_where() -> None:
    calls = [call("short", "x"), call("call_1", "é" * 900), call("../up", "y" * 800), call("big", "z" * 3000)]
    files: Any = Files()
    shares = shares_of(calls, 200, None)
    notes = await keep_whole(calls, shares, files)
    shown = fitted(calls, shares, notes)
    assert files.written[".results/call_1.txt"].decode() == "é" * 900
    assert set(files.written) == {".results/call_1.txt", kept_path("../up")}
    assert shown[0] is calls[0]
    assert "; the whole result is in .results/call_1.txt ...]" in shown[1].result.content
    assert "could not be saved: .results/big.txt: the disk is full" in shown[3].result.content
    assert all(len(one.result.content) <= 200 for one in shown)


@given(st.text(), st.text())
def test_every_call_has_a_file_of_its_own_in_the_folder(first: str, second: str) -> None:
    path = kept_path(first)
    folder, _, name = path.partition("/")
    assert folder == ".results"
    assert "/" not in name
    assert len(name) < 100
    assert (path == kept_path(second)) == (first == second)
