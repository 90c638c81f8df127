"""Whatever the text: no parser raises, nothing is lost, and what comes out as a call is one."""

from __future__ import annotations

import functools
import json
import random

import pytest
from drawn import examples
from hypothesis import strategies as st

from rollway.tool_parsers import ParsedOutput, get_parser, list_parsers

MUTATIONS_PER_FORMAT = 200
SPLICES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "\\",
    ",",
    ":",
    "\n",
    "\0",
    "\ud800",
    "<",
    ">",
    "null",
    "</think>",
    "<think>",
    "",
]


def check(parsed: ParsedOutput, text: str) -> None:
    ids = [call.id for call in parsed.tool_calls]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    for call in parsed.tool_calls:
        assert call.name.strip()
        assert isinstance(json.loads(call.arguments), dict)
    for error in parsed.errors:
        assert error.raw
        assert text[error.position :].startswith(error.raw)
        assert error.message
    assert parsed.content is None or parsed.content.strip()
    assert all(0 <= index < len(parsed.tool_calls) for index in parsed.repaired)
    if not parsed.tool_calls:
        assert not parsed.repaired


def mutate(text: str, other: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 3)):
        at, to = sorted(rng.choices(range(len(text) + 1), k=2))
        match rng.randrange(5):
            case 0:
                text = text[:at] + text[min(to, at + rng.randint(1, 20)) :]
            case 1:
                text = text[:at] + rng.choice(SPLICES) + text[at:]
            case 2:
                text = text[:at] + text[at:to] * 2 + text[to:]
            case 3:
                text = text[:to]
            case _:
                text = text[:at] + other[rng.randrange(len(other) + 1) :] + text[at:]
    return text


@pytest.mark.parametrize("name", list_parsers())
def test_mutations_of_good_texts_never_raise(name: str, recorded_texts: dict[str, list[str]]) -> None:
    rng = random.Random(name)
    parser = get_parser(name)
    texts = recorded_texts[name]
    for index in range(MUTATIONS_PER_FORMAT):
        text = mutate(rng.choice(texts), rng.choice(texts), rng)
        check(parser.parse(text, lenient=bool(index % 2)), text)


@functools.cache
def drawn_mixes() -> list[tuple[list[int], bool]]:
    """Numbers of words, and whether the text is read leniently."""
    return examples(st.tuples(st.lists(st.integers(0, 200), max_size=30), st.booleans()), 150)


@pytest.mark.parametrize("name", list_parsers())
def test_any_mix_of_tags_and_brackets_is_read(name: str) -> None:
    parser = get_parser(name)
    example = parser.format.example
    words = [*SPLICES, "name", "arguments", " ", "1", *example.split('"'), example]
    for mix, lenient in drawn_mixes():
        text = "".join(words[number % len(words)] for number in mix)
        check(parser.parse(text, lenient=lenient), text)


@pytest.mark.parametrize("name", list_parsers())
def test_text_without_a_call_comes_back_to_the_letter(name: str) -> None:
    text = "  The set {1, 2} is <b>not</b> a dict:\n\n  see [the docs](x) or `f(x)`.\n"
    parsed = get_parser(name).parse(text)
    assert parsed.content == text
    assert not parsed.tool_calls
    assert not parsed.errors


@pytest.mark.parametrize("name", list_parsers())
def test_the_same_text_gives_the_same_ids(name: str) -> None:
    parser = get_parser(name)
    example = parser.format.example
    first, second = parser.parse(example), parser.parse(example)
    assert first == second
    assert first.tool_calls


@pytest.mark.parametrize("name", list_parsers())
def test_every_cut_of_an_example_gives_its_call_or_an_error_or_text(name: str) -> None:
    """A cut text never gives a call that the whole one does not."""
    parser = get_parser(name)
    example = parser.format.example
    whole = [(call.name, call.arguments) for call in parser.parse(example).tool_calls]
    for end in range(len(example)):
        parsed = parser.parse(example[:end])
        assert [(call.name, call.arguments) for call in parsed.tool_calls] in ([], whole[:1], whole)
