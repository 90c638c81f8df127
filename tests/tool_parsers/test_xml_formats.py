"""Formats of tags around bare values: what is rendered is read again; no text breaks or slows a parser."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable

import pytest
from drawn import examples
from growth import grows_linearly
from hypothesis import strategies as st

from rollway.tool_parsers import ToolParser, get_parser
from rollway.trajectory import ToolCall

XML = [
    "qwen3_coder",
    "seed_oss",
    "glm45",
    "glm47",
    "deepseek_v32",
    "deepseek_v4",
    "minimax_m2",
    "step3",
    "dots",
    "hy_v3",
]
BRACES = ["gemma4", "functiongemma"]
FORMATS = XML + BRACES
STRIPPED = {"step3", "dots"}
TAGS = [
    "<tool_call>", "</tool_call>", "<function=a>", "</function>", "<parameter=b>", "</parameter>",
    "<arg_key>k</arg_key>", "<arg_value>", "</arg_value>", "<tool_sep>", "<tool_calls>", '<invoke name="a">',
    '<parameter name="b">', "</invoke>", "</minimax:tool_call>", "<｜DSML｜invoke", "</｜DSML｜parameter>",
    "<escape>", '<|"|>', "<tool_call|>", "<think>", "</think>", "\n", "{", "}", ",", "[", "]", ":", '"',
]  # fmt: skip

plain_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
tagged_text = st.lists(plain_text | st.sampled_from(TAGS), max_size=5).map("".join)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | tagged_text
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=8,
)
keys = st.from_regex(r"[A-Za-z_][\w.-]{0,12}", fullmatch=True)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
arguments = st.dictionaries(keys, values, max_size=4)


def schema_of(value: object) -> dict:
    if isinstance(value, dict):
        return {"type": "object", "properties": {key: schema_of(inner) for key, inner in value.items()}}
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}
    return {"type": "null" if value is None else kinds[type(value)]}


def tools_for(calls: list[tuple[str, dict]]) -> list[dict]:
    return [
        {"type": "function", "function": {"name": name, "parameters": schema_of(given)}}
        for name, given in calls
    ]


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def strings_in(value: object) -> list[str]:
    if isinstance(value, dict):
        return [found for inner in value.values() for found in strings_in(inner)] + list(value)
    if isinstance(value, list):
        return [found for inner in value for found in strings_in(inner)]
    return [value] if isinstance(value, str) else []


def made(name: str, given: object) -> ToolCall:
    return ToolCall("", name, json.dumps(given))


def read(parser: ToolParser, text: str, tools: list[dict] | None = None) -> list[tuple[str, object]]:
    return [(call.name, json.loads(call.arguments)) for call in parser.parse(text, tools).tool_calls]


@functools.cache
def drawn_calls() -> list[list[tuple[str, dict]]]:
    call = st.tuples(names, arguments)
    return examples(st.lists(call, min_size=1, max_size=3, unique_by=lambda call: call[0]), 120)


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_rendered_is_read_as_the_same_calls(format: str) -> None:
    for calls in drawn_calls():
        check_round_trip(format, calls)


def check_round_trip(format: str, calls: list[tuple[str, dict]]) -> None:
    parser = get_parser(format)
    try:
        text = parser.render([made(*call) for call in calls])
    except ValueError:
        strings = [found for _, given in calls for found in strings_in(given)]
        tops = [value for _, given in calls for value in given.values() if isinstance(value, str)]
        tag = any("<" in found for found in (strings if format in BRACES else tops))
        ends = format in STRIPPED and any(value != value.strip() for value in tops)
        assert tag or ends, "only tags, and white space where it means nothing, may be refused"
        return
    out = parser.parse(text, tools_for(calls))
    assert not out.errors
    assert out.content is None
    found = [(call.name, json.loads(call.arguments)) for call in out.tool_calls]
    assert len(found) == len(calls)
    for one, other in zip(found, calls, strict=True):
        assert one[0] == other[0]
        assert same(one[1], other[1])


@functools.cache
def drawn_words_and_bodies() -> list[tuple[str, str]]:
    words = st.text("ab c\n.é", min_size=1, max_size=20).filter(str.strip)
    return examples(st.tuples(words, tagged_text), 60)


@pytest.mark.parametrize("format", FORMATS)
def test_text_before_the_calls_is_kept(format: str) -> None:
    parser = get_parser(format)
    for words, body in drawn_words_and_bodies():
        try:
            text = parser.render([made("f", {"a": body})], words)
        except ValueError:
            continue
        out = parser.parse(text, tools_for([("f", {"a": body})]))
        assert (out.content or "").strip() == words.strip()
        assert json.loads(out.tool_calls[0].arguments) == {"a": body}


@pytest.mark.parametrize("format", XML)
def test_a_whole_call_quoted_in_a_value_is_text(format: str) -> None:
    parser = get_parser(format)
    quoted = f"Write it so:\n{parser.format.example}\nand so on."
    text = parser.render([made("write", {"text": quoted, "n": 1})])
    assert read(parser, text, tools_for([("write", {"text": "", "n": 1})])) == [
        ("write", {"text": quoted, "n": 1})
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_a_string_of_100_kb_comes_back(format: str) -> None:
    parser = get_parser(format)
    long = "".join(random.Random(7).choices("abc <>{}[]\"'\\\n,:é", k=100_000)).strip() + "."
    assert read(parser, parser.render([made("f", {"a": long})])) == [("f", {"a": long})]


@pytest.mark.parametrize("format", FORMATS)
def test_the_example_is_what_the_format_writes(format: str) -> None:
    parser = get_parser(format)
    calls = parser.parse(parser.format.example).tool_calls
    assert [call.name for call in calls] == ["get_weather"]
    assert json.loads(calls[0].arguments)["city"] == "Oslo"


@pytest.mark.parametrize("format", FORMATS)
def test_a_call_in_a_thought_is_not_made_and_the_one_behind_it_is(format: str) -> None:
    parser = get_parser(format)
    example = parser.format.example
    out = parser.parse(f"<think>perhaps\n{example}\nno</think>\n{example}")
    assert [call.name for call in out.tool_calls] == ["get_weather"]
    assert out.content == f"<think>perhaps\n{example}\nno</think>\n"
    assert not out.errors


@pytest.mark.parametrize("format", FORMATS)
def test_every_prefix_of_a_text_keeps_its_words_or_makes_the_whole_call(format: str) -> None:
    parser = get_parser(format)
    text = "Hello. " + parser.render([made("f", {"a": "x", "b": "y"}), made("g", {"c": "z"})])
    for end in range(len(text)):
        out = parser.parse(text[:end])
        wrong = [
            call
            for call in out.tool_calls
            if json.loads(call.arguments) not in ({"a": "x", "b": "y"}, {"c": "z"})
        ]
        assert not wrong, text[:end]
        for error in out.errors:
            assert error.raw.strip() in (out.content or "")
            assert text[error.position : error.position + len(error.raw)] == error.raw


edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), tagged_text), max_size=4)


@functools.cache
def drawn_edits() -> list[list[tuple[float, int, str]]]:
    """Changes of a text: where (as a share of it), how many characters go, and what comes in their place."""
    return examples(edits, 300)


def edited(text: str, changes: list[tuple[float, int, str]]) -> str:
    for share, length, piece in changes:
        at = round(share * len(text))
        text = text[:at] + piece + text[at + length :]
    return text


@pytest.mark.parametrize("format", FORMATS)
def test_no_mutation_of_a_text_raises_or_loses_words(format: str) -> None:
    parser = get_parser(format)
    text = "One. " + parser.format.example + " Two. " + parser.format.example
    for changes in drawn_edits():
        out = parser.parse(edited(text, changes))
        for call in out.tool_calls:
            assert isinstance(json.loads(call.arguments), dict)
        for error in out.errors:
            assert error.raw.strip() in (out.content or "")
            assert error.message


class NoShortCut:
    """Stands where a short cut does, and never takes it."""

    def read(self, text: str, start: int) -> None:
        return None

    def match(self, text: str, start: int) -> None:
        return None


@pytest.mark.parametrize("format", FORMATS)
def test_the_short_cut_reads_what_the_reader_with_care_reads(format: str) -> None:
    parser = get_parser(format)
    family = parser.format.parse.__self__  # type: ignore[attr-defined]
    careful = type(family)(family.grammar)
    careful._plain = NoShortCut()
    text = "One. " + parser.format.example * 2 + " Two. " + parser.format.example
    for changes in drawn_edits():
        changed = edited(text, changes)
        assert parser.parse(changed) == careful.parse(changed, (), False)


@pytest.mark.parametrize("format", FORMATS)
def test_long_runs_of_anything_need_linear_work(format: str) -> None:
    parser = get_parser(format)
    example = parser.format.example
    head = example[: example.index("Oslo")]
    opening = example[: example.index(">") + 1]
    for start, piece in (
        *(("", piece) for piece in (opening, "{", '"', " ")),
        *((head, piece) for piece in (opening, "</", head[len(opening) :], example[example.index("Oslo") :])),
    ):
        assert grows_linearly(parser.parse, run(start, piece)), (start, piece)


def run(start: str, piece: str) -> Callable[[int], str]:
    return lambda size: start + piece * (size // len(piece))


@pytest.mark.parametrize("format", FORMATS)
def test_a_closing_tag_that_is_cut_short_is_no_text(format: str) -> None:
    parser = get_parser(format)
    out = parser.parse(parser.format.example[:-2])
    assert [call.name for call in out.tool_calls] == ["get_weather"]
    assert out.content is None


@pytest.mark.parametrize("format", FORMATS)
def test_a_broken_call_does_not_take_the_good_one_with_it(format: str) -> None:
    parser = get_parser(format)
    example = parser.format.example
    broken = example[: example.index("Oslo") + 2]
    out = parser.parse(f"{broken}\n{example}")
    assert [call.name for call in out.tool_calls] == ["get_weather"]
    assert [error.kind for error in out.errors] == ["unclosed"]
    assert "Os" in (out.content or "")


@pytest.mark.parametrize("format", FORMATS)
def test_a_parameter_given_twice_is_not_guessed(format: str) -> None:
    parser = get_parser(format)
    text = parser.render([made("f", {"aa": "1", "ab": "2"})]).replace("ab", "aa")
    out = parser.parse(text)
    assert not out.tool_calls
    assert [error.kind for error in out.errors] == ["malformed"]
    assert out.content is not None
    assert out.content.strip() in text


def test_a_parameter_that_is_not_closed_ends_where_the_next_begins() -> None:
    whole = get_parser("qwen3_coder").render([made("f", {"a": "1", "b": "2"})])
    text = whole.replace("</parameter>\n", "", 1)
    assert read(get_parser("qwen3_coder"), text) == [("f", {"a": "1", "b": "2"})]


def test_text_between_the_tags_of_a_call_is_malformed() -> None:
    text = "<tool_call>\n<function=f>\nand\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
    out = get_parser("qwen3_coder").parse(text)
    assert [error.kind for error in out.errors] == ["malformed"]
    assert out.content == text


def test_broken_json_for_a_list_is_an_error_and_lenient_repairs_it() -> None:
    parser = get_parser("qwen3_coder")
    text = parser.render([made("f", {"a": "['x', True,]"})])
    tools = [
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"properties": {"a": {"type": "array"}}}},
        }
    ]
    assert [error.kind for error in parser.parse(text, tools).errors] == ["invalid_json"]
    out = parser.parse(text, tools, lenient=True)
    assert json.loads(out.tool_calls[0].arguments) == {"a": ["x", True]}
    assert out.repaired == [0]


def test_dsml_says_itself_what_is_text() -> None:
    parser = get_parser("deepseek_v32")
    text = parser.render([made("f", {"a": "5", "b": 5, "c": None})])
    tools = [
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}}},
        }
    ]
    assert read(parser, text, tools) == [("f", {"a": "5", "b": 5, "c": None})]


def test_dsml_text_that_calls_itself_json_is_text_where_text_is_wanted_and_an_error_elsewhere() -> None:
    parser = get_parser("deepseek_v32")
    text = parser.render([made("f", {"a": "tomorrow"})]).replace('string="true"', 'string="false"')
    tools = tools_for([("f", {"a": ""})])
    assert read(parser, text, tools) == [("f", {"a": "tomorrow"})]
    assert [error.kind for error in parser.parse(text).errors] == ["invalid_json"]


def test_an_invocation_outside_its_section_is_text() -> None:
    text = 'In XML: <invoke name="f"><parameter name="a">1</parameter></invoke>'
    out = get_parser("minimax_m2").parse(text)
    assert (out.content, out.tool_calls, out.errors) == (text, [], [])


def test_tags_of_hy_v3_may_carry_a_suffix() -> None:
    example = get_parser("hy_v3").format.example.replace(">", ":6124c78e>")
    assert read(get_parser("hy_v3"), example) == [("get_weather", {"city": "Oslo"})]


def test_text_in_gemma_quotes_the_tags_of_a_call() -> None:
    parser = get_parser("gemma4")
    body = '<|tool_call>call:rm{path:"/"}<tool_call|>'
    text = parser.render([made("write", {"text": body})])
    assert read(parser, text) == [("write", {"text": body})]
    assert not parser.parse(text[: text.index("}") + 1]).tool_calls


def test_gemma_arguments_in_json_quotes_are_not_guessed() -> None:
    parser = get_parser("gemma4")
    text = '<|tool_call>call:f{a:"x"}<tool_call|>'
    assert [error.kind for error in parser.parse(text).errors] == ["malformed"]
    out = parser.parse(text, lenient=True)
    assert json.loads(out.tool_calls[0].arguments) == {"a": "x"}
    assert out.repaired == [0]


@pytest.mark.parametrize(
    "value", ["5", "null", "[1]", '"quoted"', " 5 ", "<escape>", "a <escape> b", "plain"]
)
def test_functiongemma_says_every_string(value: str) -> None:
    parser = get_parser("functiongemma")
    assert read(parser, parser.render([made("f", {"a": value})])) == [("f", {"a": value})]


def test_what_a_format_cannot_say_is_refused_with_the_reason() -> None:
    body = "x</parameter>\n</function>\n</tool_call>"
    with pytest.raises(ValueError, match=r"call 2 \('g'\).*'a'"):
        get_parser("qwen3_coder").render([made("f", {"a": "1"}), made("g", {"a": body})])
    with pytest.raises(ValueError, match="its own end"):
        get_parser("gemma4").render([made("f", {"a": 'x<|"|>'})])
