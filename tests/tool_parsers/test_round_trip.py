"""What `render` writes, `parse` reads back: names and arguments of every call, for every format."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from drawn import examples
from hypothesis import strategies as st

from rollway.tool_parsers import get_parser, list_formats, list_parsers
from rollway.trajectory import ToolCall

TAG = re.compile(r"<[^<>\s]{1,40}>|\[[A-Z_]+\]|```\w*")
TAG_LIKE = [
    *sorted({tag for format in list_formats() for tag in TAG.findall(format.example)}),
    *("<think>", "</think>", "</tool_call>", "</parameter>", "</function>", "f(a=1)"),
    *("]", "}", '"', "'", "\\", "\n", '{"name": "x", "arguments": {}}'),
]

characters = st.characters(exclude_categories=["Cs"])
pieces = st.one_of(st.text(characters, max_size=12), st.sampled_from(TAG_LIKE))
texts = st.lists(pieces, max_size=4).map("".join)
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,15}(\.[A-Za-z0-9_]{1,8})?(-[a-z]{1,5})?", fullmatch=True)
keys = st.one_of(st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,10}", fullmatch=True), texts)
calls = st.lists(
    st.tuples(names, st.dictionaries(keys, values, max_size=3)),
    min_size=1,
    max_size=3,
    unique_by=lambda call: call[0],  # one tool has one schema
)


def schema_of(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case None:
            return {"type": "null"}
        case list():
            return {"type": "array"}
        case _:
            return {"type": "object", "properties": {key: schema_of(item) for key, item in value.items()}}


def tools_for(written: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": name, "parameters": schema_of(arguments)}}
        for name, arguments in dict(written).items()
    ]


def round_trip(
    name: str, written: list[tuple[str, dict[str, Any]]], same_json: Callable[[Any, Any], bool]
) -> None:
    parser = get_parser(name)
    calls = [ToolCall("", tool, json.dumps(arguments, ensure_ascii=False)) for tool, arguments in written]
    try:
        text = parser.render(calls)
    except ValueError:
        assert parser.format.cannot_say
        return
    parsed = parser.parse(text, tools_for(written))
    assert not parsed.errors
    assert [call.name for call in parsed.tool_calls] == [tool for tool, _ in written]
    for got, (_, arguments) in zip(parsed.tool_calls, written, strict=True):
        assert same_json(json.loads(got.arguments), arguments)
    assert parsed.content is None


@functools.cache
def drawn_calls() -> list[list[tuple[str, dict[str, Any]]]]:
    return examples(calls, 60)


@pytest.mark.parametrize("name", list_parsers())
def test_what_is_rendered_is_read_back(name: str, same_json: Callable[[Any, Any], bool]) -> None:
    for written in drawn_calls():
        round_trip(name, written, same_json)


@pytest.mark.parametrize("name", list_parsers())
@pytest.mark.parametrize("unit", ["x", "\\", '"', "'", "\n ", "é🙂", "{}[]", "\0\t"], ids=repr)
def test_strings_of_100_kb_are_read_back(name: str, unit: str, same_json: Callable[[Any, Any], bool]) -> None:
    text = "a" + unit * (100_000 // len(unit)) + "z"
    round_trip(name, [("write_file", {"text": text, "nested": {"list": [text, 1, None]}})], same_json)


@pytest.mark.parametrize("name", list_parsers())
def test_content_is_written_before_the_calls_and_read_back(name: str) -> None:
    parser = get_parser(name)
    call = ToolCall("", "get_weather", '{"city": "Oslo"}')
    parsed = parser.parse(parser.render([call], "I will look.\nOne moment."))
    assert parsed.content is not None
    assert parsed.content.strip() == "I will look.\nOne moment."
    assert [call.name for call in parsed.tool_calls] == ["get_weather"]
    assert parser.parse(parser.render([], "Only words.")).content == "Only words."


@pytest.mark.parametrize("name", list_parsers())
@pytest.mark.parametrize("arguments", ["not json", "[1]", "7", '"{}"', "{'a': 1}"])
def test_arguments_that_are_no_object_are_not_rendered(name: str, arguments: str) -> None:
    with pytest.raises(ValueError, match="get_weather"):
        get_parser(name).render([ToolCall("", "get_weather", arguments)])
