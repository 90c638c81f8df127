"""A docstring tells the model what the tool does, and what each argument means, in either style."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.tools.docstrings import parse_docstring

GOOGLE = """Search the index.

    Finds documents by meaning: see the manual.

    Args:
        query (str): what to look for,
            in plain words: any language
        limit: at most this many

        **options: passed on

    Returns:
        The documents.

    Note:
        Slow on Mondays.

    Raises:
        ValueError: never.
    """

NUMPY = """Search the index.

    Finds documents.

    Parameters
    ----------
    query : str
        what to look for,
        in plain words
    limit, offset : int, optional
        numbers

    Returns
    -------
    list of str
        The documents.

    Notes
    -----
    Slow on Mondays.
    """


def test_google_style() -> None:
    read = parse_docstring(GOOGLE)
    assert read.arguments == {
        "query": "what to look for, in plain words: any language",
        "limit": "at most this many",
        "options": "passed on",
    }
    assert read.description == (
        "Search the index.\n\nFinds documents by meaning: see the manual.\n\nNote:\n    Slow on Mondays."
    )


def test_numpy_style() -> None:
    read = parse_docstring(NUMPY)
    assert read.arguments == {
        "query": "what to look for, in plain words",
        "limit": "numbers",
        "offset": "numbers",
    }
    assert read.description == "Search the index.\n\nFinds documents.\n\nNotes\n-----\nSlow on Mondays."


def test_a_type_in_a_docstring_may_have_parentheses_of_its_own() -> None:
    text = "Do.\n\nArgs:\n  a (tuple(int, int), optional): first\n  b (f(g(x))): second"
    assert parse_docstring(text).arguments == {"a": "first", "b": "second"}


def test_a_docstring_without_sections_is_all_description() -> None:
    text = "Add: two numbers.\n\nexample: not a section, as text follows"
    assert parse_docstring(text).description == text
    assert parse_docstring(None).description == ""


def test_a_section_that_ends_the_docstring_is_read_whole() -> None:
    assert parse_docstring("Do.\n\nArgs:\n  a: first\n  b: second").arguments == {"a": "first", "b": "second"}


pieces = st.sampled_from(
    ["a", "b", ":", " ", "\n", "\t", "Args:", "Returns:", "Parameters", "\n---\n", "x : int"]
)


@settings(max_examples=50)
@given(st.lists(pieces).map("".join))
def test_no_text_crashes_the_parser(text: str) -> None:
    parse_docstring(text)
