"""A tool whose schema is given checks calls against it, and hands the arguments on as they are."""

from __future__ import annotations

import json
import pickle
import time
from typing import Any

import pytest

from rollway.tools import InvalidArguments, Tool

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "mode": {"enum": ["r", "w"]},
        "lines": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["path", "mode"],
    "additionalProperties": False,
}


def echo(**arguments: Any) -> Any:
    return arguments


def made(schema: dict[str, Any] = SCHEMA) -> Tool:
    return Tool.from_schema("open", "Open a file.", schema, echo)


def complaint(arguments: str, schema: dict[str, Any] = SCHEMA) -> str:
    with pytest.raises(InvalidArguments) as caught:
        made(schema).bind(arguments)
    return str(caught.value)


def test_the_schema_is_told_as_it_was_given() -> None:
    assert made().definition()["function"] == {
        "name": "open",
        "description": "Open a file.",
        "parameters": SCHEMA,
    }


def test_good_arguments_reach_the_function_unchanged() -> None:
    args, kwargs = made().bind('{"path": "a", "mode": "r", "lines": [1, 2]}')
    assert made()(*args, **kwargs) == {"path": "a", "mode": "r", "lines": [1, 2]}


@pytest.mark.parametrize("name", ["self", "function", "args", "name", "action"])
def test_a_parameter_may_have_any_name(name: str) -> None:
    args, kwargs = made({"type": "object"}).bind(f'{{"{name}": 1}}')
    assert made()(*args, **kwargs) == {name: 1}


def test_a_complaint_names_the_parameter_what_was_expected_and_what_was_given() -> None:
    assert complaint("") == "missing 'path', 'mode'"
    assert complaint('{"path": 3, "mode": "x"}') == (
        '\'mode\', got "x": must satisfy enum ["r", "w"]; \'path\', got 3: must satisfy type "string"'
    )
    assert "'lines[1]', got \"x\"" in complaint('{"path": "p", "mode": "r", "lines": [1, "x"]}')
    assert "unknown 'paht' (did you mean 'path'?)" in complaint('{"paht": "p", "path": "p", "mode": "r"}')


def test_nothing_is_coerced() -> None:
    assert "must satisfy type" in complaint(
        '{"n": "3"}', {"type": "object", "properties": {"n": {"type": "integer"}}}
    )


def test_a_complaint_stays_short_however_much_is_wrong() -> None:
    lines = ", ".join(['"' + "x" * 1000 + '"'] * 1000)
    assert len(complaint('{"path": "p", "mode": "r", "lines": [' + lines + "]}")) < 2500


def test_deep_arguments_are_an_error() -> None:
    tree: dict[str, Any] = {
        "type": "object",
        "properties": {"t": {"$ref": "#/$defs/t"}},
        "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}},
    }
    made(tree).bind('{"t": [[[]]]}')
    assert "too deeply" in complaint('{"t": ' + "[" * 900 + "]" * 900 + "}", tree)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "properties": {"a": {"type": "number", "minimum": "low"}}},
        {"type": "object", "required": "a"},
        "object",
    ],
)
def test_what_is_no_schema_of_an_object_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError, match="tool 'open'"):
        made(schema)


def test_a_reference_is_never_fetched_from_the_network() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
    with pytest.raises(ValueError, match=r"refers to 'http://127\.0\.0\.1:9/schema', which"):
        made(schema).bind('{"a": 1}')


def test_a_tool_can_be_sent_to_another_process() -> None:
    from ray import cloudpickle

    copy = pickle.loads(cloudpickle.dumps(made()))
    assert copy.bind('{"path": "a", "mode": "r"}')[1] == {"path": "a", "mode": "r"}


def test_a_pattern_that_would_backtrack_without_end_is_answered_at_once() -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string", "pattern": "^(a+)+$"}}}
    arguments = json.dumps({"path": "a" * 50_000 + "!"})
    began = time.monotonic()
    assert "must satisfy pattern" in complaint(arguments, schema)
    assert time.monotonic() - began < 5
    assert made(schema).bind('{"path": "aaa"}')[1] == {"path": "aaa"}


def test_a_pattern_with_a_lookahead_is_given_up_where_it_takes_too_long() -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string", "pattern": r"^(?=b)?(\w+\s?)+$"}}}
    began = time.monotonic()
    assert "takes too long" in complaint(json.dumps({"path": "a" * 5_000 + "!"}), schema)
    assert time.monotonic() - began < 5
    assert made(schema).bind('{"path": "aaa"}')[1] == {"path": "aaa"}


@pytest.mark.parametrize("name", ["x-" + "a" * 5_000 + "!", "other"])
def test_names_are_held_against_patterns_too(name: str) -> None:
    schema = {
        "type": "object",
        "patternProperties": {"^x-(a+)+$": {"type": "integer"}},
        "additionalProperties": False,
    }
    assert "unknown" in complaint(json.dumps({name: 1}), schema)
    assert "must satisfy type" in complaint('{"x-aa": "one"}', schema)
    assert made(schema).bind('{"x-aa": 1}')[1] == {"x-aa": 1}
