"""Texts as models and servers in the field write them: nearly a format's own, and never lost in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollway.json_keys import repeated_key
from rollway.tool_parsers import ParsedOutput, get_parser, list_parsers, split_reasoning
from rollway.tool_parsers.call_ids import renamed
from rollway.tool_parsers.stray import names_a_call, offered_name
from rollway.trajectory import ToolCall

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALL = '{"name": "look_up", "arguments": {"city": "Lyon"}}'


def read(name: str, text: str, **options: Any) -> ParsedOutput:
    return get_parser(name).parse(text, TOOLS, **options)


def calls(parsed: ParsedOutput) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in parsed.tool_calls]


def kinds(parsed: ParsedOutput) -> list[str]:
    return [str(error.kind) for error in parsed.errors]


def dsml(bar: str, section: str) -> str:
    tag = f"{bar}DSML{bar}"
    return (
        f'<{tag}{section}>\n<{tag}invoke name="look_up">\n<{tag}parameter name="city" string="true">Lyon'
        f"</{tag}parameter>\n</{tag}invoke>\n</{tag}{section}>"
    )


@pytest.mark.parametrize("bar", ["｜", "｜｜", "|", "||", "｜|"])
@pytest.mark.parametrize("section", ["function_calls", "tool_calls", "toolcalls"])
@pytest.mark.parametrize("name", ["deepseek_v32", "deepseek_v4"])
def test_dsml_is_read_however_its_bars_and_its_section_are_written(name: str, section: str, bar: str) -> None:
    parsed = read(name, f"I look.\n{dsml(bar, section)}")
    assert (calls(parsed), kinds(parsed)) == ([("look_up", {"city": "Lyon"})], [])
    assert parsed.content == "I look.\n"


def test_a_section_that_is_cut_in_its_last_tag_leaves_no_mark_behind() -> None:
    for cut in ("</｜DSML", "</||DSML||tool_ca", "</|DS"):
        text = dsml("｜", "tool_calls").replace("</｜DSML｜tool_calls>", cut)
        parsed = read("deepseek_v4", text)
        assert (calls(parsed), parsed.content) == ([("look_up", {"city": "Lyon"})], None)


@pytest.mark.parametrize("format", ["deepseek_v3", "deepseek_v4"])
def test_a_call_with_other_bars_ends_a_thought_as_well(format: str) -> None:
    call = dsml("||", "tool_calls")
    assert split_reasoning(f"<think>Look.{call}", format) == ("Look.", call)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("deepseek_v31", '<|tool_calls_begin|><|tool_call_begin|>look_up<|tool_sep|>{"city": "Lyon"}'),
        ("deepseek_v31", '<｜tool_call_begin｜>look_up<｜tool_sep｜>{"city": "Lyon"}<｜tool_call_end｜>'),
        ("deepseek_v3", '<||tool▁calls▁begin||>look_up{"city": "Lyon"}'),
        ("kimi_k2", '<｜tool_calls_section_begin｜>functions.look_up:0{"city": "Lyon"}'),
    ],
)
def test_marks_with_other_bars_are_an_error_where_they_are_no_call(name: str, text: str) -> None:
    parsed = read(name, f"So.\n{text}")
    assert (calls(parsed), kinds(parsed)) == ([], ["malformed"])
    assert parsed.content == f"So.\n{text}"
    assert parsed.errors[0].raw == text


@pytest.mark.parametrize(
    "text",
    [
        f"<tools>\n{CALL}\n</tools>",
        f"I look.\n<tools>{CALL}</tools> Then we see.",
        f"```json\n{CALL}\n```",
        f"I will look it up.\n{CALL}",
        f"<function_call> {CALL}",
        f"[{CALL}]",
        f"[TOOL_REQUEST]{CALL}[END_TOOL_REQUEST]",
    ],
)
def test_a_whole_call_in_the_wrong_tags_is_an_error_that_shows_the_right_ones(text: str) -> None:
    parsed = read("hermes", text)
    assert (calls(parsed), kinds(parsed)) == ([], ["malformed"])
    assert parsed.content == text
    assert f"<tool_call>\n{CALL}\n</tool_call>" in parsed.errors[0].message
    assert parsed.errors[0].name == "look_up"


@pytest.mark.parametrize(
    "text",
    [
        f"Write {CALL} to ask for the weather.",
        f"<think>{CALL}</think>It rains.",
        "<tools>" + CALL.replace("look_up", "rm") + "</tools>",
        '<data>{"name": "look_up", "age": 5}</data>',
        '{"name": "look_up"}',
        "look_up is a tool (of two).",
    ],
)
def test_json_that_is_quoted_or_of_no_offered_tool_is_no_call(text: str) -> None:
    parsed = read("hermes", text)
    assert (parsed.content, calls(parsed), kinds(parsed)) == (text, [], [])


@pytest.mark.parametrize(
    "text",
    [
        'look_up[ARGS]{"city": "Lyon"}',
        ' functions.look_up:0 {"city": "Lyon"} ',
        'functionlook_up\n```json\n{"city": "Lyon"}\n```'.replace("functionlook_up", "function look_up"),
        'commentary to=functions.look_up json{"city": "Lyon"}',
        "call:look_up{city:Lyon}",
        "[look_up(city='Lyon')]",
        '[{"tool_call_id": "0", "tool_name": "look_up", "parameters": {"city": "Lyon"}}]',
        '[{"look_up": {"city": "Lyon"}}]',
        f"Write {CALL} to ask.",
    ],
)
def test_what_a_server_leaves_of_a_call_whose_marks_it_took_off_is_noticed(text: str) -> None:
    assert names_a_call(text, TOOLS) == "look_up"


@pytest.mark.parametrize(
    "text", ["", "It rains in Lyon.", "I used look_up (twice).", "look_up said {rain}.", "{}", "a(b=1)"]
)
def test_an_answer_that_speaks_of_a_tool_is_not_taken_for_a_call(text: str) -> None:
    assert names_a_call(text, TOOLS) == ""


DOUBLED = {
    "hermes": '<tool_call>{"name": "look_up", "arguments": {"city": "Lyon", "city": "Nice"}}</tool_call>',
    "jamba": '<tool_calls>[{"name": "look_up", "name": "f", "arguments": {}}]</tool_calls>',
    "mistral": '[TOOL_CALLS]look_up[ARGS]{"city": "Lyon", "city": "Nice"}',
    "kimi_k2": get_parser("kimi_k2").format.example.replace('{"city"', '{"city": "Nice", "city"'),
    "deepseek_v31": get_parser("deepseek_v31").format.example.replace('{"city"', '{"city": "Nice", "city"'),
    "llama3_json": '{"name": "look_up", "parameters": {"a": {"x": 1, "x": 2}}}',
    "xlam": '[{"name": "look_up", "arguments": {"a": 1}, "arguments": {"a": 2}}]',
    "cohere_command3": get_parser("cohere_command3").format.example.replace('{"city"', '{"city": 1, "city"'),
    "apertus": '<|tools_prefix|>[{"look_up": {"city": "Lyon", "city": "Nice"}}]<|tools_suffix|>',
    "openai": '<|channel|>commentary to=functions.look_up<|message|>{"city": "a", "\\u0063ity": "b"}<|call|>',
    "deepseek_v4": dsml("｜", "tool").replace(
        'city" string="true">Lyon', 'o" string="false">{"a": 1, "a": 2}'
    ),
    "pythonic": "[look_up(city={'a': 1, 'a': 2})]",
    "gemma4": "<|tool_call>call:look_up{opts:{a:1,a:2}}<tool_call|>",
    "qwen3_coder": "<function=look_up><parameter=city>a</parameter><parameter=city>b</parameter></function>",
}


@pytest.mark.parametrize("name", DOUBLED)
def test_a_key_that_stands_twice_makes_a_call_invalid(name: str) -> None:
    parsed = read(name, DOUBLED[name])
    assert calls(parsed) == []
    assert len(kinds(parsed)) == 1
    assert "twice" in parsed.errors[0].message


def test_a_key_may_stand_in_two_objects_of_one_call() -> None:
    arguments = '{"a": [{"x": 1}, {"x": 2}], "b": {"x": "x\\": 1, \\"x"}}'
    assert repeated_key(arguments) is None
    parsed = read("hermes", f'<tool_call>{{"name": "look_up", "arguments": {arguments}}}</tool_call>')
    assert [call.arguments for call in parsed.tool_calls] == [arguments]


@pytest.mark.parametrize("name", list_parsers())
def test_no_leniency_takes_a_key_twice(name: str) -> None:
    text = DOUBLED.get(name, "")
    assert calls(read(name, text, lenient=True)) == []


def test_a_bare_value_of_gemma_is_what_it_looks_like_where_no_schema_says_otherwise() -> None:
    text = "<|tool_call>call:plan{opts:{depth:2},extra:7,flag:true,none:null,word:seven,code:007}<tool_call|>"
    tools = [{"type": "function", "function": {"name": "plan", "parameters": {"type": "object"}}}]
    for offered in (tools, TOOLS, []):
        (call,) = get_parser("gemma4").parse(text, offered).tool_calls
        expected = {"opts": {"depth": 2}, "extra": 7, "flag": True, "none": None, "word": "seven"}
        assert json.loads(call.arguments) == {**expected, "code": "007"}


@pytest.mark.parametrize("written", ["functions.look_up:0", "functions.look_up:0_2", "look_up:3", "look_up"])
def test_a_name_of_kimi_is_read_out_of_every_id_that_it_was_shown(written: str) -> None:
    text = get_parser("kimi_k2").format.example.replace("functions.get_weather:0", written)
    assert [call.name for call in read("kimi_k2", text).tool_calls] == ["look_up"]


def test_kimi_gets_ids_of_its_own_form_where_it_wrote_none() -> None:
    one = '<|tool_call_begin|>look_up<|tool_call_argument_begin|>{"city": "Oslo"}<|tool_call_end|>'
    text = f"<|tool_calls_section_begin|>{one}{one.replace('look_up', 'functions.look_up:1')}{one}"
    ids = [call.id for call in read("kimi_k2", text).tool_calls]
    assert ids == ["functions.look_up:0", "functions.look_up:1", "functions.look_up:2"]


@pytest.mark.parametrize(
    ("call_id", "used", "expected"),
    [
        ("functions.look_up:0", (), "functions.look_up:1"),
        ("functions.look_up:0", ("functions.look_up:1",), "functions.look_up:2"),
        ("functions.look_up:0_2", (), "functions.look_up:1"),
        ("call_0_1", (), "call_0_2"),
        ("0", ("1",), "2"),
        ("call", (), "call_2"),
        ("abcdefghi", (), "abcdefgh2"),
        ("123456789", ("123456782",), "123456783"),
        ("call_5fc42bb49dc52586bb36a20f", (), "call_5fc42bb49dc52586bb36a202"),
        ("toolu_01A09q90qw90lq917835lq9", (), "toolu_01A09q90qw90lq917835lq2"),
    ],
)
def test_an_id_that_is_given_anew_keeps_its_form(call_id: str, used: tuple[str, ...], expected: str) -> None:
    assert renamed(call_id, {call_id, *used}) == expected


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("look_up<|channel|>commentary", "look_up"),
        ("look_up <|constrain|>json", "look_up"),
        ("look_up<｜tool▁sep｜>", "look_up"),
        ("look_up[ARGS]", "look_up"),
        ("look_up", "look_up"),
        ("lookup<|channel|>commentary", "lookup"),
        ("lookup[ARGS]", "lookup[ARGS]"),
        ("<|channel|>commentary", "<|channel|>commentary"),
        ("look_uplook_up", "look_uplook_up"),
    ],
)
def test_what_stands_behind_a_special_token_is_no_part_of_a_tools_name(written: str, name: str) -> None:
    assert offered_name(written, TOOLS) == name


@pytest.mark.parametrize("name", list_parsers())
def test_the_way_back_of_a_format_is_never_stray(name: str) -> None:
    text = get_parser(name).render([ToolCall("functions.look_up:0", "look_up", '{"city": "Lyon"}')], "So.")
    assert kinds(read(name, text)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mistral", 'look_up[ARGS]{"city": "Lyon"}'),
        ("mistral", 'I look.look_up[CALL_ID]abcdefghi[ARGS]{"city": "Lyon"}'),
        ("kimi_k2", 'I look.functions.look_up:0{"city": "Lyon"}'),
        ("deepseek_v31", 'look_up{"city": "Lyon"}'),
        ("deepseek_v3", 'functionlook_up\n```json\n{"city": "Lyon"}\n```'),
        ("gemma4", "call:look_up{city:Lyon}"),
        ("functiongemma", "call:look_up{city:Lyon}"),
        ("openai", 'commentary to=functions.look_up json{"city": "Lyon"}'),
        ("lfm2", "[look_up(city='Lyon')]"),
        ("apertus", '[{"look_up": {"city": "Lyon"}}]'),
        ("internlm", '{"name": "look_up", "parameters": {"city": "Lyon"}}'),
        ("granite", '[{"name": "look_up", "arguments": {"city": "Lyon"}}]'),
        ("jamba", '[{"name": "look_up", "arguments": {"city": "Lyon"}}]'),
        (
            "cohere_command3",
            '[{"tool_call_id": "0", "tool_name": "look_up", "parameters": {"city": "Lyon"}}]',
        ),
    ],
)
def test_a_call_whose_special_tokens_were_taken_off_is_an_error(name: str, text: str) -> None:
    parsed = read(name, text)
    assert (calls(parsed), kinds(parsed)) == ([], ["malformed"])
    assert parsed.errors[0].name == "look_up"
    assert parsed.content == text


@pytest.mark.parametrize(
    "text",
    [
        "look_up(city) tells the forecast of a city {a name}.",
        'I used look_up {"city": "Lyon"}, and it rains.',
        "f(x) = {look_up}",
        "<think>look_up[ARGS]{}</think>It rains (a lot).",
    ],
)
@pytest.mark.parametrize("name", ["mistral", "gemma4", "hermes"])
def test_words_about_a_tool_are_no_call_without_marks(name: str, text: str) -> None:
    assert kinds(read(name, text)) == []
