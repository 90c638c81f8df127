"""JSON in a longer text: where it ends, what of it is a call, and what is only nearly JSON."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.tool_parsers import ParseErrorKind
from rollway.tool_parsers.json_calls import Call, Fault, read_arguments, read_call, read_plain_call
from rollway.tool_parsers.json_lenient import read_lenient
from rollway.tool_parsers.json_values import (
    MAX_DEPTH,
    Ending,
    JsonScanner,
    NextMatch,
    NextTag,
    Scan,
    escape_controls,
)
from rollway.tool_parsers.python_literals import NotLiteral, read_literal, to_json, write_literal

characters = st.characters(exclude_categories=["Cs"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(characters),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(characters), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.dictionaries(st.text(characters), values, max_size=4), st.booleans(), st.integers(0, 3))
def test_the_end_of_any_object_is_found(value: dict[str, Any], ascii: bool, indent: int) -> None:
    source = json.dumps(value, ensure_ascii=ascii, indent=indent or None)
    assert JsonScanner(["<t>"]).scan(f"ab{source}<t>", 2) == Scan(2 + len(source), Ending.COMPLETE)


@pytest.mark.parametrize(
    ("text", "end", "ending"),
    [
        ('{"a": "<t>"}<t>', 12, Ending.COMPLETE),
        ('{"a": "raw\nline\\""} x', 19, Ending.COMPLETE),
        ('{"a": 1<t>', 7, Ending.TAG),
        ('{"a": "b"<t>', 9, Ending.TAG),
        ('{"a": [1, 2', 11, Ending.TEXT_END),
        ('{"a": "b', 6, Ending.STRING),
        ('{"a": "b" c"}', 6, Ending.BROKEN),
        ('{"a": \\n}', 6, Ending.BROKEN),
        ("[" * (MAX_DEPTH + 1), MAX_DEPTH, Ending.BROKEN),
        ("null, 1", 4, Ending.COMPLETE),
        ('"a\\"b" c', 6, Ending.COMPLETE),
        ("-1.5e3]", 6, Ending.COMPLETE),
        ("", 0, Ending.TEXT_END),
        ("<t>", 0, Ending.BROKEN),
    ],
)
def test_a_scan_says_where_it_stopped_and_why(text: str, end: int, ending: Ending) -> None:
    assert JsonScanner(["<t>"]).scan(text, 0) == Scan(end, ending)


def test_control_characters_are_escaped_in_strings_only() -> None:
    assert escape_controls('{\n"a":\t"b\n\tc\r\0"}') == '{\n"a":\t"b\\n\\tc\\r\\u0000"}'
    assert escape_controls('{\n"a": 1}') == '{\n"a": 1}'


@pytest.mark.parametrize("finder", [NextTag("a<t>b<t>", "<t>"), NextMatch("a<t>b<t>", re.compile("<t>"))])
def test_a_finder_gives_the_next_place_for_growing_positions(finder: NextTag | NextMatch) -> None:
    assert [finder.find(position) for position in (0, 0, 1, 2, 5, 6, 9)] == [1, 1, 1, 5, 5, -1, -1]


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ('{"name": "f", "arguments": {"a":  1.50}}', '{"a":  1.50}'),
        ('{"name": "f", "parameters": {}}', "{}"),
        ('{"name": "f", "arguments": null}', "{}"),
        ('{"name": "f", "arguments": ""}', "{}"),
        ('{"name": "f"}', "{}"),
        ('{"name": "f", "arguments": "{\\"a\\": 1}"}', '{"a": 1}'),
        ('{"name": "f", "arguments": "{\\"a\\": \\"x\\ny\\"}"}', '{"a": "x\\ny"}'),
        ('{"name": "f", "arguments": {"a": "x\ny"}}', '{"a": "x\\ny"}'),
        ('{"name": "f", "arguments": {"a": 1}, "parameters": {"b": 2}}', '{"a": 1}'),
    ],
)
def test_arguments_come_out_as_they_were_written(source: str, arguments: str) -> None:
    assert read_call(source) == Call("f", arguments)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ('{"name": "f", "arguments": [1]}', ParseErrorKind.INVALID_ARGUMENTS),
        ('{"name": "f", "arguments": "x"}', ParseErrorKind.INVALID_ARGUMENTS),
        ('{"name": "f", "arguments": "[1]"}', ParseErrorKind.INVALID_ARGUMENTS),
        ('{"name": "f", "arguments": 7}', ParseErrorKind.INVALID_ARGUMENTS),
        ('{"name": "f", "arguments": false}', ParseErrorKind.INVALID_ARGUMENTS),
        ('{"name": null, "arguments": {}}', ParseErrorKind.MISSING_NAME),
        ('{"name": "", "arguments": {}}', ParseErrorKind.MISSING_NAME),
        ('{"name": " ", "arguments": {}}', ParseErrorKind.MISSING_NAME),
        ('{"name": 7, "arguments": {}}', ParseErrorKind.MISSING_NAME),
        ("[]", ParseErrorKind.MISSING_NAME),
        ("7", ParseErrorKind.MISSING_NAME),
        ('{"name": "f", "arguments": {"a": NaN}}', ParseErrorKind.INVALID_JSON),
        ('{"name": "f", "arguments": {"a": 01}}', ParseErrorKind.INVALID_JSON),
        ('{"name": "f", "arguments": {"a": "\ud800"}}', ParseErrorKind.INVALID_JSON),
        ('{"name": "f", "arguments": {"a": "\\ud800"}}', ParseErrorKind.INVALID_JSON),
        ('{"name": "f", "arguments": {"a": 1,}}', ParseErrorKind.INVALID_JSON),
        ('{"name": "f", "arguments": ' + "[" * 100_000, ParseErrorKind.INVALID_JSON),
        ("", ParseErrorKind.INVALID_JSON),
    ],
)
def test_what_is_no_call_has_one_reason(source: str, kind: ParseErrorKind) -> None:
    fault = read_call(source)
    assert isinstance(fault, Fault)
    assert fault.kind == kind


def test_the_short_cut_gives_what_the_long_way_gives() -> None:
    source = '{"id": "x", "name": "f", "arguments": {"a": [1, "\\u00e9"]}, "type": "function"}'
    assert read_plain_call(source) == read_call(source) == Call("f", '{"a": [1, "\\u00e9"]}', "x")


def test_numbers_of_any_length_are_only_text() -> None:
    digits = "9" * 10_000
    assert read_arguments("f", f'{{"a": {digits}}}') == Call("f", f'{{"a": {digits}}}')


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{'a': 'b'}", {"a": "b"}),
        ('{"a": [1, 2,],}', {"a": [1, 2]}),
        ("{a: True, b_1: None, c: false}", {"a": True, "b_1": None, "c": False}),
        ("{'a': 'it\\'s \\u00e9 \\ud83d\\ude00'}", {"a": "it's é 😀"}),
        ("{'a': (1, -2.5e3)}", {"a": [1, -2500.0]}),
        ("{'a': '</tool_call>'}", {"a": "</tool_call>"}),
    ],
)
def test_what_is_nearly_json_is_read_when_asked(source: str, value: Any) -> None:
    assert read_lenient(f"{source} tail", 0) == (value, len(source))
    call = read_arguments("f", source, lenient=True)
    assert isinstance(call, Call)
    assert call.repaired
    assert json.loads(call.arguments) == value
    assert isinstance(read_arguments("f", source), Fault)


@pytest.mark.parametrize(
    "source",
    [
        "{'a': 1",
        "{'a'}",
        "{a}",
        "{'a': b}",
        "{'a': 01}",
        "{'a': 1e999}",
        "{'a': '\\ud800'}",
        "[" * 1000,
        "{,}",
        "",
        "{1: 2}",
    ],
)
def test_what_is_not_even_nearly_json_is_not_guessed(source: str) -> None:
    assert read_lenient(source, 0) is None


@settings(max_examples=200)
@given(values)
def test_python_literals_are_written_as_python_reads_them_and_read_back(value: Any) -> None:
    source = write_literal(value)
    assert ast.literal_eval(source) == value
    assert read_literal(source + " tail", 0) == (value, len(source))
    assert json.loads(to_json(value, 0)) == value


@pytest.mark.parametrize(
    "source",
    [
        "'a' \"b\"",
        "'''a'b\n''c'''",
        '"""a\\"""b"""',
        "'\\x41\\101\\N{BULLET}\\q'",
        "0x1F",
        "1_000",
        ".5",
        "5.",
        "+3",
        "(1, [2], {'a': ()})",
    ],
)
def test_python_literals_are_read_as_python_reads_them(source: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python frowns at the escape that means nothing
        expected = ast.literal_eval(source)
    value, end = read_literal(source, 0)
    assert json.loads(json.dumps(value)) == json.loads(json.dumps(expected))
    assert end == len(source)


@pytest.mark.parametrize(
    "source", ["x", "f(1)", "{1: 2}", "{1, 2}", "'a", "1x", "007", "1e999", "'\\ud800'", "[" * 500, ""]
)
def test_what_is_no_literal_is_told(source: str) -> None:
    with pytest.raises(NotLiteral):
        read_literal(source, 0)


def test_half_a_character_is_no_json() -> None:
    with pytest.raises(NotLiteral):
        to_json("\ud800", 0)
