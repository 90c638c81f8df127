"""Content is what stands outside calls; thoughts hide calls; ids are unique and depend on the text alone."""

from __future__ import annotations

import re

import pytest

from rollway.tool_parsers import ParsedOutput, ParseErrorKind
from rollway.tool_parsers.draft import Draft, IdForm


def read(text: str) -> ParsedOutput:
    """A toy format: CALL is a call, BAD a broken one, MARK a mark of the format."""
    draft = Draft(text)
    position = 0
    while (match := draft.search(re.compile("CALL|BAD|MARK"), position)) is not None:
        position = match.end()
        if match[0] == "CALL":
            draft.call(*match.span(), "f", "{}")
        elif match[0] == "BAD":
            draft.reject(*match.span(), ParseErrorKind.MALFORMED, "bad")
        else:
            draft.drop(*match.span())
    return draft.finish(position)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("CALL", None),
        ("", None),
        (" \n ", None),
        ("CALL \n CALL", None),
        ("  words \n", "  words \n"),
        ("  words \nCALL", "  words \n"),
        ("  words \nCALL\n", "  words \n"),
        ("CALL  words \n", "words"),
        (" one \nCALL two CALL\nthree ", "one\ntwo\nthree"),
        ("MARK one MARK", " one "),
        ("one BAD CALL", "one BAD "),
        ("CALL BAD CALL", "BAD"),
    ],
)
def test_content_is_the_text_outside_calls_and_marks(text: str, content: str | None) -> None:
    assert read(text).content == content


@pytest.mark.parametrize(
    ("text", "calls", "errors"),
    [
        ("<think>CALL BAD</think>", 0, 0),
        ("<think>CALL</think>CALL BAD", 1, 1),
        ("<think>a</think>CALL<think>CALL</think>CALL", 2, 0),
        ("CALL BAD</think>", 0, 0),  # the prompt had opened the thought
        ("CALL</think>CALL", 1, 0),
        ("<think>CALL", 1, 0),  # a thought that is never closed ends with the call
        ("<think>a</think>CALL</think>CALL", 2, 0),  # a second closing tag ends nothing
        ("<think><think>CALL</think>CALL", 1, 0),
        ("</think><think>CALL", 1, 0),
    ],
)
def test_what_stands_in_a_finished_thought_is_no_call(text: str, calls: int, errors: int) -> None:
    parsed = read(text)
    assert (len(parsed.tool_calls), len(parsed.errors)) == (calls, errors)


def test_a_thought_stays_in_the_content_as_it_is() -> None:
    assert read("<think> CALL MARK\n</think>\nCALL\ntail").content == "<think> CALL MARK\n</think>\ntail"
    assert read("a CALL MARK b</think> c").content == "a CALL MARK b</think> c"


def test_tags_inside_a_block_are_no_thoughts() -> None:
    text = "CALL(</think>)CALL"
    draft = Draft(text)
    draft.call(0, 14, "f", "{}")
    assert draft.find("CALL", 14) == 14
    draft.call(14, 18, "f", "{}")
    assert len(draft.finish(18).tool_calls) == 2


def test_own_ids_are_kept_and_repeated_ones_replaced() -> None:
    draft = Draft("aaaa")
    for start, own in enumerate(["x", "", "x", "y"]):
        draft.call(start, start + 1, "f", "{}", id=own)
    ids = [call.id for call in draft.finish(4).tool_calls]
    assert (ids[0], ids[3]) == ("x", "y")
    assert len(set(ids)) == 4
    assert all(ids)


def test_a_made_id_is_never_one_that_the_model_wrote() -> None:
    def ids(own: str) -> list[str]:
        draft = Draft("aa")
        draft.call(0, 1, "f", "{}")
        draft.call(1, 2, "f", "{}", id=own)
        return [call.id for call in draft.finish(2).tool_calls]

    made = ids("")[0]
    assert ids(made) == [ids(made)[0], made]
    assert ids(made)[0] != made


def test_ids_have_the_form_that_was_asked_for() -> None:
    draft = Draft("a", id_form=IdForm(prefix="", digits=9))
    draft.call(0, 1, "f", "{}")
    assert re.fullmatch("[0-9a-f]{9}", draft.finish(1).tool_calls[0].id)


def test_an_error_has_its_place_and_its_text() -> None:
    (error,) = read("one BAD").errors
    assert (error.position, error.raw) == (4, "BAD")
