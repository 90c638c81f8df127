"""Exact edits: what is not replaced stays to the letter, and a refusal helps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.tools.builtin.edits import CANDIDATES, EditRefused, replace_text

LINES = st.lists(st.text(alphabet="ab ", max_size=4), min_size=1, max_size=6)


def test_one_place_is_replaced_and_its_line_told() -> None:
    edited = replace_text("a\nb\nc\n", "b\n", "x\ny\n")
    assert edited.text == "a\nx\ny\nc\n"
    assert edited.lines == [2]


def test_all_places_are_replaced_and_their_new_lines_told() -> None:
    edited = replace_text("a\nb\na\n", "a", "x\ny", everywhere=True)
    assert edited.text == "x\ny\nb\nx\ny\n"
    assert edited.lines == [1, 4]


def test_more_than_one_place_is_refused_with_the_lines() -> None:
    with pytest.raises(EditRefused, match=r"occurs 3 times \(lines 1, 2, 4\).*all=true"):
        replace_text("a\na\nb\na", "a", "x")


@pytest.mark.parametrize(("old", "new", "told"), [("", "x", "old is empty"), ("a", "a", "are the same")])
def test_an_edit_that_says_nothing_is_refused(old: str, new: str, told: str) -> None:
    with pytest.raises(EditRefused, match=told):
        replace_text("a", old, new)


def test_the_nearest_lines_are_shown_with_their_numbers() -> None:
    text = "def one():\n    return 1\n\ndef two():\n    return 2\n"
    with pytest.raises(EditRefused) as refused:
        replace_text(text, "def twoo():\n    return 2", "x")
    assert str(refused.value) == (
        "Error: old is not in the file; the nearest lines:\n     4\tdef two():\n     5\t    return 2"
    )


def test_wrong_indentation_is_said_to_be_that() -> None:
    with pytest.raises(EditRefused, match=r"only whitespace differs:\n     2\t        return 1"):
        replace_text("def f():\n        return 1\n", "    return 1\n}".removesuffix("\n}") + "  ", "x")


def test_text_that_is_like_nothing_is_said_to_be_so() -> None:
    with pytest.raises(EditRefused, match="no line resembles its first line"):
        replace_text("abc\n", "zzzzzzzz", "x")
    with pytest.raises(EditRefused, match="only whitespace"):
        replace_text("abc\n", "\t\t", "x")


def test_of_a_huge_file_only_so_many_lines_are_searched() -> None:
    with pytest.raises(EditRefused, match="no line resembles"):
        replace_text("x\n" * CANDIDATES + "almost this\n", "almost thiz", "y")


@given(lines=LINES, old=LINES, new=LINES)
def test_windows_line_breaks_stay_windows_line_breaks(
    lines: list[str], old: list[str], new: list[str]
) -> None:
    """The model writes \\n; editing the file gives what editing it with \\n and turning all back gives."""
    text, before, after = "\n".join([*lines, *old, *lines, ""]), "\n".join(old), "\n".join(new)
    try:
        expected = replace_text(text, before, after, everywhere=True).text
    except EditRefused:
        with pytest.raises(EditRefused):
            replace_text(text.replace("\n", "\r\n"), before, after, everywhere=True)
        return
    edited = replace_text(text.replace("\n", "\r\n"), before, after, everywhere=True).text
    assert edited == expected.replace("\n", "\r\n")


@given(head=st.text(), tail=st.text(), new=st.text())
def test_what_stands_around_the_place_stays(head: str, tail: str, new: str) -> None:
    marker = "\x00MARK\x00"
    if "\r" in head + tail + new:
        return
    assert replace_text(head + marker + tail, marker, new).text == head + new + tail


def test_a_file_of_mixed_breaks_keeps_each() -> None:
    assert replace_text("a\r\nb\nc\nd\n", "a\nb", "x\ny").text == "x\r\ny\nc\nd\n"
