"""A docstring tells the model what the tool does, and what each argument means, in every common style."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.tools.docstrings import Docstring, parse_docstring

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

SPHINX = """Search the index.

    Finds documents, see :doc:`manual`.
    :param query: what to look for,
        in plain words: any language
    :type query: str
    :param int limit: at most this many
    :param \\*\\*options: passed on

    Slow on Mondays.

    :returns: The documents.
    :rtype: list[str]
    :raises ValueError: never
    """

EPYDOC = """Search the index.

    Finds documents, mailed to me@example.org.

    @param query: what to look for,
        in plain words
    @type query: str
    @param limit: at most this many
    @return: The documents.
    @raise ValueError: never
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


def test_sphinx_style() -> None:
    read = parse_docstring(SPHINX)
    assert read.arguments == {
        "query": "what to look for, in plain words: any language",
        "limit": "at most this many",
        "options": "passed on",
    }
    assert read.description == (
        "Search the index.\n\nFinds documents, see :doc:`manual`.\n\nSlow on Mondays."
    )


def test_epydoc_style() -> None:
    read = parse_docstring(EPYDOC)
    assert read.arguments == {"query": "what to look for, in plain words", "limit": "at most this many"}
    assert read.description == "Search the index.\n\nFinds documents, mailed to me@example.org."


@pytest.mark.parametrize(
    "text", ["Do it.\n\n:param x one", "Say :param x: as it is.", "Do.\n\n@x: first", "Do.\n\n:smile: at it"]
)
def test_a_colon_or_an_at_sign_that_begins_no_field_is_text(text: str) -> None:
    assert parse_docstring(text) == Docstring(text, {})


def test_fields_do_not_take_the_text_around_them_along() -> None:
    read = parse_docstring(":smile: Do.\n\n:param x: one\n\n    in two\n\nThen rest.\n\n:param y: two")
    assert read == Docstring(":smile: Do.\n\nThen rest.", {"x": "one in two", "y": "two"})


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
    [
        "a",
        "b",
        ":",
        " ",
        "\n",
        "\t",
        "Args:",
        "Returns:",
        "Parameters",
        "\n---\n",
        "x : int",
        "\n:param",
        "\n@param a:",
    ]
)


@settings(max_examples=50)
@given(st.lists(pieces).map("".join))
def test_no_text_crashes_the_parser(text: str) -> None:
    parse_docstring(text)
