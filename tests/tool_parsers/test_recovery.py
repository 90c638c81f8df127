"""What the formats do where no recorded case says it: odd neighbours, doubled tags, bare calls in prose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollway.tool_parsers import ParsedOutput, get_parser

TO_F = "<|channel|>commentary to=functions.f"
F = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def read(name: str, text: str, **options: Any) -> ParsedOutput:
    return get_parser(name).parse(text, **options)


def calls(parsed: ParsedOutput) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in parsed.tool_calls]


def kinds(parsed: ParsedOutput) -> list[str]:
    return [str(error.kind) for error in parsed.errors]


def test_a_good_call_survives_a_string_that_is_never_closed_before_it() -> None:
    parsed = read(
        "hermes",
        '<tool_call>{"name": "f", "arguments": {"a": "b}}</tool_call>\n'
        '<tool_call>{"name": "g", "arguments": {"a": "b"}}</tool_call>',
    )
    assert calls(parsed) == [("g", {"a": "b"})]
    assert kinds(parsed) == ["invalid_json"]


def test_a_call_quoted_in_a_broken_call_is_not_executed() -> None:
    inner = '<tool_call>{"name": "rm", "arguments": {}}</tool_call>'
    for broken in (
        f'{{"name": "write", "arguments": {{"text": "{inner}"}}}}',  # quotes that are not escaped
        f"{{'name': 'write', 'arguments': {{'text': '{inner}'}}}}",
        f'{{"name": "write", "arguments": {{"text": {json.dumps(inner)}}},}}',
    ):
        parsed = read("hermes", f"<tool_call>\n{broken}\n</tool_call>")
        assert calls(parsed) == []
        assert "invalid_json" in kinds(parsed)
        assert inner in (parsed.content or "").replace('\\"', '"')


@pytest.mark.parametrize(
    ("name", "opening", "closing"),
    [
        ("longcat", "<longcat_think>", "</longcat_think>"),
        ("mistral", "[THINK]", "[/THINK]"),
        ("apertus", "<|inner_prefix|>", "<|inner_suffix|>"),
        ("hermes", "<think>", "</think>"),
        ("kimi_k2", "<think>", "</think>"),
    ],
)
def test_each_format_knows_the_tags_of_its_models_thoughts(name: str, opening: str, closing: str) -> None:
    call = get_parser(name).format.example
    assert len(read(name, f"{opening}{call}{closing}{call}").tool_calls) == 1
    assert len(read(name, f"{call}{closing}{call}").tool_calls) == 1
    assert len(read(name, f"{opening}{call}").tool_calls) == 1


def test_a_block_without_json_ends_at_its_own_tag() -> None:
    good = '<tool_call>{"name": "f"}</tool_call>'
    parsed = read("hermes", f"<tool_call>f(1)</tool_call>{good}")
    assert (calls(parsed), kinds(parsed)) == ([("f", {})], ["invalid_json"])
    parsed = read("hermes", f"Use the <tool_call> tag: {good}")
    assert (calls(parsed), kinds(parsed)) == ([("f", {})], ["unclosed"])
    assert parsed.content == "Use the <tool_call> tag: "


def test_a_tag_that_is_written_twice_opens_one_call() -> None:
    parsed = read("hermes", '<tool_call>\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>')
    assert calls(parsed) == [("f", {})]
    assert (parsed.content, parsed.errors) == (None, [])


def test_a_list_of_calls_is_read_where_one_call_is_usual() -> None:
    parsed = read("hermes", '<tool_call>[{"name": "f"}, {"name": "g"}]</tool_call>')
    assert calls(parsed) == [("f", {}), ("g", {})]


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ('{"name": "b", "arguments": {"x": 1,}}', "invalid_json"),
        ("{'name': 'b', 'arguments': {'x': '}'}}", "invalid_json"),
        ('{"arguments": {}}', "missing_name"),
        ('{"name": "b", "arguments": [1]}', "invalid_arguments"),
    ],
)
@pytest.mark.parametrize("name", ["jamba", "hunyuan_a13b", "granite", "phi4_mini_json", "xlam", "mistral"])
def test_each_item_of_a_list_counts_for_itself(name: str, bad: str, kind: str) -> None:
    good = get_parser("jamba").format.example[len("<tool_calls>[") : -len("]</tool_calls>")]
    before, after = {
        "jamba": ("<tool_calls>", "</tool_calls>"),
        "hunyuan_a13b": ("<tool_calls>\n", "\n</tool_calls>"),
        "granite": ("<|tool_call|>", ""),
        "phi4_mini_json": ("functools", ""),
        "xlam": ("```json\n", "\n```"),
        "mistral": ("[TOOL_CALLS]", ""),
    }[name]
    parsed = read(name, f"Now.\n{before}[{good}, {bad}, {good}]{after}\nDone.")
    assert [call for call, _ in calls(parsed)] == ["get_weather", "get_weather"]
    assert kinds(parsed) == [kind]
    assert parsed.content == f"Now.\n{bad}\nDone."
    assert parsed.errors[0].raw == bad


@pytest.mark.parametrize("name", ["jamba", "phi4_mini_json", "mistral", "apertus"])
def test_a_list_that_is_cut_off_gives_its_whole_calls(name: str) -> None:
    parser = get_parser(name)
    text = {
        "jamba": '<tool_calls>[{"name": "f", "arguments": {}}, {"name": "g", "arg',
        "phi4_mini_json": 'functools[{"name": "f", "arguments": {}}, {"name": "g", "arg',
        "mistral": '[TOOL_CALLS][{"name": "f", "arguments": {}}, {"name": "g", "arg',
        "apertus": '<|tools_prefix|>[{"f": {}}, {"g": {"a": "b',
    }[name]
    parsed = parser.parse(text)
    assert calls(parsed) == [("f", {})]
    assert kinds(parsed) == ["unclosed"]


def test_leniency_repairs_and_says_so() -> None:
    text = (
        "<tool_call>{'name': 'f', 'arguments': {a: None,}}</tool_call>"
        '<tool_call>{"name": "g"}</tool_call>'
    )
    assert kinds(read("hermes", text)) == ["invalid_json"]
    parsed = read("hermes", text, lenient=True)
    assert calls(parsed) == [("f", {"a": None}), ("g", {})]
    assert (parsed.repaired, parsed.errors) == ([0], [])


def test_leniency_completes_nothing() -> None:
    for text in ('<tool_call>{"name": "f", "arguments": {"a": 1}</tool_call>', "<tool_call>{'name': 'f'"):
        assert calls(read("hermes", text, lenient=True)) == []


@pytest.mark.parametrize(
    "text",
    [
        'As JSON: {"name": "Bob", "age": 5}',
        '{"name": "Bob", "age": 5,}',
        '{"type": "circle", "id": 7}',
        '{"id": [1, 2',
    ],
)
def test_json_without_arguments_is_only_data(text: str) -> None:
    parsed = read("llama3_json", text)
    assert (parsed.content, calls(parsed), kinds(parsed)) == (text, [], [])


@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        ('{"name": "f", "parameters": {"a": "b', [], ["unclosed"]),
        ('{"name": "f", "parameters": {"a": 1,}}', [], ["invalid_json"]),
        (
            "{'name': 'f', 'parameters': {}}; {\"name\": \"g\", \"parameters\": {}};",
            [("g", {})],
            ["invalid_json"],
        ),
        ('<|python_tag|>{"name": "f"}', [("f", {})], []),
        ("<|python_tag|>print(1)", [], ["invalid_json"]),
        ("<|python_tag|>", [], ["unclosed"]),
    ],
)
def test_json_that_begins_like_a_call_is_one_or_an_error(text: str, expected: Any, errors: list[str]) -> None:
    parsed = read("llama3_json", text)
    assert (calls(parsed), kinds(parsed)) == (expected, errors)


def test_a_fence_with_other_json_is_only_text() -> None:
    text = '```json\n[{"name": "Bob"}]\n```\nand [{"id": 1}]'
    assert read("xlam", text).content == text


@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        ("[f(a=1), g(b='x')]", [("f", {"a": 1}), ("g", {"b": "x"})], []),
        ("Sure.\n[f(a=1)]\nDone.", [("f", {"a": 1})], []),
        ("Calling [f(a=1)] now.", [("f", {"a": 1})], []),
        ("In Python, [g(a=1)] makes a list.", [], []),
        ("```\n[print(end='')]\n```", [], []),
        ("Call [f(x)] with a number.", [], []),
        ("[f(x)]", [], ["invalid_arguments"]),
        ("[f(a=1), f(2), f(a=3)]", [("f", {"a": 1}), ("f", {"a": 3})], ["invalid_arguments"]),
        ("[f(a='cut", [], ["unclosed"]),
        ("<think>[f(a=1)]</think>[f(a=2)]", [("f", {"a": 2})], []),
        ("[f(**{'odd name': [True, null]}, b=-1.5)]", [("f", {"odd name": [True, None], "b": -1.5})], []),
        ("[f(a=1, a=2)]", [], ["invalid_arguments"]),
        ("[f(a=__import__('os'))]", [], ["invalid_arguments"]),
        ("[f(a=open)]", [], ["invalid_arguments"]),
    ],
)
def test_bare_lists_are_calls_where_they_can_be_meant_so(text: str, expected: Any, errors: list[str]) -> None:
    parsed = read("pythonic", text, tools=F)
    assert (calls(parsed), kinds(parsed)) == (expected, errors)


def test_the_line_of_a_broken_python_call_does_not_swallow_its_neighbours() -> None:
    parsed = read("olmo3", "<function_calls>\nf(1)\ng(a=2)\nh(b=)\n</function_calls>")
    assert calls(parsed) == [("g", {"a": 2})]
    assert kinds(parsed) == ["invalid_arguments", "invalid_arguments"]
    assert parsed.content == "f(1)\nh(b=)"


def test_mistral_ids_are_its_own_or_nine_letters_and_digits() -> None:
    parsed = read("mistral", '[TOOL_CALLS]f[CALL_ID]Ab3dE6gH9[ARGS]{"a": 1}[TOOL_CALLS]g{"b": 2}')
    assert calls(parsed) == [("f", {"a": 1}), ("g", {"b": 2})]
    own, made = (call.id for call in parsed.tool_calls)
    assert own == "Ab3dE6gH9"
    assert len(made) == 9
    assert made.isalnum()


def test_kimi_ids_are_kept_and_written_back() -> None:
    text = get_parser("kimi_k2").format.example.replace(":0", ":7")
    parsed = read("kimi_k2", text)
    assert parsed.tool_calls[0].id == "functions.get_weather:7"
    assert get_parser("kimi_k2").render(parsed.tool_calls) == text


@pytest.mark.parametrize("name", ["deepseek_v3", "deepseek_v31", "kimi_k2"])
def test_a_call_whose_name_cannot_be_read_is_malformed(name: str) -> None:
    example = get_parser(name).format.example
    mark = {"deepseek_v3": "<｜tool▁sep｜>", "deepseek_v31": "<｜tool▁sep｜>"}.get(
        name, "<|tool_call_argument_begin|>"
    )
    text = example.replace(mark, "")
    parsed = read(name, text)
    assert (calls(parsed), kinds(parsed), parsed.content) == ([], ["malformed"], text)


def test_a_section_with_a_call_loses_its_marks_and_one_without_keeps_them() -> None:
    begin, end = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
    good = "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
    bad = "<｜tool▁call▁begin｜>f<｜tool▁sep｜>[1]<｜tool▁call▁end｜>"
    assert read("deepseek_v31", f"{begin}{bad}{end}\n{begin}{good}{end}").content == f"{begin}{bad}{end}\n"
    assert read("deepseek_v31", f"{begin}{bad}{good}{end[:9]}").content == bad


@pytest.mark.parametrize(
    ("text", "content", "expected", "errors"),
    [
        ("<|START_THINKING|>a<|END_THINKING|>b", "b", [], []),
        ("a<|START_ACTION|>[]<|END_ACTION|><|END_THINKING|>b", "b", [], []),
        ('<|START_THINKING|>a<|START_ACTION|>[{"tool_name": "f"}]<|END_ACTION|>', None, [("f", {})], []),
        ('<|START_ACTION|>[{"tool_name": "f", "parameters": {"a', None, [], ["unclosed"]),
    ],
)
def test_coheres_thought_is_no_content(
    text: str, content: str | None, expected: Any, errors: list[str]
) -> None:
    parsed = read("cohere_command3", text)
    assert (calls(parsed), kinds(parsed)) == (expected, errors)
    assert parsed.content == (content if not errors else text)


@pytest.mark.parametrize(
    ("text", "content", "expected", "errors"),
    [
        ("just words", "just words", [], []),
        ("just words<|return|>", "just words", [], []),
        ("<|channel|>final<|message|>words", "words", [], []),
        ("<|channel|>analysis<|message|>thought", None, [], []),
        ("<|channel|>analysis<|message|>thought<|end|><|start|>assistant", None, [], []),
        (
            TO_F + ' json<|message|>{"a": "<|call|>"}',
            None,
            [("f", {"a": "<|call|>"})],
            [],
        ),
        ("<|channel|>commentary to=browser.search<|message|>{}<|call|>", None, [("browser.search", {})], []),
        (TO_F + ' json<|message|>{"a": 1', ..., [], ["unclosed"]),
        (f"{TO_F} js", ..., [], ["unclosed"]),
        (TO_F + " json<|message|>{'a': 1}<|call|>", ..., [], ["invalid_json"]),
        (f"{TO_F} json<|message|>[1]<|call|>", ..., [], ["invalid_arguments"]),
    ],
)
def test_harmony_messages_are_calls_thoughts_or_words(
    text: str, content: Any, expected: Any, errors: list[str]
) -> None:
    parsed = read("openai", text)
    assert (calls(parsed), kinds(parsed)) == (expected, errors)
    assert parsed.content == (text if content is ... else content)
