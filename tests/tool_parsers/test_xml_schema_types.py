"""Bare text becomes what its schema says, and nothing is guessed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.tool_parsers.json_calls import Fault
from rollway.tool_parsers.schema_types import Schema, ToolSchemas, encode_text, join_arguments


def value_of(text: str, schema: object, root: dict | None = None) -> object:
    found = encode_text(text, Schema(schema, root or {}))
    assert not isinstance(found, Fault), found
    return json.loads(found.json)


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("007", {"type": "string"}, "007"),
        ("true", {"type": "string"}, "true"),
        ("[1, 2]", {"type": "string"}, "[1, 2]"),
        ("null", {"type": "string"}, "null"),
        ("42", {}, "42"),
        ("42", True, "42"),
        ("42", {"type": "integer"}, 42),
        (" 42\n", {"type": "integer"}, 42),
        ("42.0", {"type": "integer"}, 42),
        ("1e3", {"type": "integer"}, 1000),
        ("42.5", {"type": "integer"}, 42.5),
        ("007", {"type": "integer"}, "007"),
        ("many", {"type": "integer"}, "many"),
        ("42", {"type": "number"}, 42),
        ("1e999", {"type": "number"}, "1e999"),
        ("NaN", {"type": "number"}, "NaN"),
        ("true", {"type": "boolean"}, True),
        ("False", {"type": "boolean"}, False),
        ("1", {"type": "boolean"}, 1),
        ("null", {"type": ["string", "null"]}, None),
        ("nullable", {"type": ["string", "null"]}, "nullable"),
        ("null", {"type": "string", "nullable": True}, None),
        ("5", {"type": ["string", "integer"]}, 5),
        ("5 apples", {"type": ["string", "integer"]}, "5 apples"),
        ('{"a": "5"}', {"type": "object"}, {"a": "5"}),
        ('{"a":\n "x\ny"}', {"type": "object"}, {"a": "x\ny"}),
        ("[1, 2]", {"type": ["string", "array"]}, [1, 2]),
        ("[see above", {"type": ["string", "array"]}, "[see above"),
        ('{"a": 1}', {"type": ["string", "array"]}, '{"a": 1}'),
        ("nothing", {"type": "array"}, "nothing"),
        ("2", {"enum": [1, 2, 3]}, 2),
        ("2", {"enum": ["1", "2"]}, "2"),
        ("2", {"const": 2}, 2),
        ("2", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 2),
        ("null", {"oneOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ("2", {"allOf": [{"type": "integer"}, {"minimum": 1}]}, 2),
        ("[]", {"items": {"type": "integer"}}, []),
        ("{}", {"properties": {}}, {}),
        ("2", {"type": "int"}, 2),
        ("2", {"type": "mystery"}, "2"),
        ("2", {"type": 7}, "2"),
    ],
)
def test_text_becomes_what_the_schema_says(text: str, schema: object, value: object) -> None:
    found = value_of(text, schema)
    assert found == value
    assert type(found) is type(value) or not isinstance(found, bool)


@pytest.mark.parametrize("text", ["[1, 2", "{'a': 1}", "[1,]", "{a: 1}"])
def test_broken_json_where_only_json_is_declared_is_a_fault(text: str) -> None:
    found = encode_text(text, Schema({"type": ["object", "array"]}, {}))
    assert isinstance(found, Fault)
    assert found.kind == "invalid_json"


def test_a_reference_is_followed_and_a_circle_ends() -> None:
    root = {
        "$defs": {
            "Count": {"type": "integer"},
            "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}, {"$ref": "#/$defs/Count"}]},
            "a/b": {"type": "boolean"},
        }
    }
    assert value_of("5", {"$ref": "#/$defs/Count"}, root) == 5
    assert value_of("5", {"$ref": "#/$defs/Loop"}, root) == 5
    assert value_of("true", {"$ref": "#/$defs/a~1b"}, root) is True
    assert value_of("5", {"$ref": "elsewhere.json"}, root) == "5"


def test_tools_that_are_no_tools_are_not_offered() -> None:
    odd: list = [None, {}, {"function": None}, {"function": {"name": 3}}, {"function": {"name": "f"}}]
    schemas = ToolSchemas(odd)
    assert schemas.parameter("f", "a") is None
    assert schemas.parameter("g", "a") is None


def test_what_an_object_declares_for_further_keys_counts() -> None:
    parameters = {"type": "object", "additionalProperties": {"type": "integer"}}
    schema = ToolSchemas([{"function": {"name": "f", "parameters": parameters}}]).parameter("f", "any")
    assert schema is not None
    assert schema.types == {"integer"}


@given(st.text(), st.sampled_from(["integer", "number", "boolean", "object", "array", "null", "string"]))
def test_whatever_the_text_the_result_is_json_or_a_fault(text: str, kind: str) -> None:
    found = encode_text(text, Schema({"type": kind}, {}))
    assert isinstance(found, Fault) or json.loads(found.json) is not ...
    if kind == "string":
        assert not isinstance(found, Fault)
        assert json.loads(found.json) == text


def test_half_a_surrogate_pair_is_written_as_an_escape() -> None:
    assert join_arguments([("\ud800", '"x"')]) == '{"\\ud800": "x"}'
