"""The reasoning formats: the recorded cases, the way back, and no text that breaks or slows them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import examples
from growth import grows_linearly
from hypothesis import strategies as st

from rollway.errors import UserError
from rollway.tool_parsers.reasoning import (
    get_reasoning_format,
    list_reasoning_formats,
    opened_by_prompt,
    split_reasoning,
)

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "reasoning.jsonl").read_text("utf-8").splitlines()
]
FORMATS = [entry.name for entry in list_reasoning_formats()]
TAGS = [
    piece
    for entry in list_reasoning_formats()
    for piece in (
        entry.opening,
        entry.closing,
        entry.ending,
        "<tool_call>",
        "<answer>",
        "<|message|>",
        "\n",
        "x",
    )
    if piece
]


def stripped(part: str | None) -> str | None:
    return (part or "").strip() or None


@pytest.mark.parametrize("case", CASES, ids=[f"{case['id']}-{case['category']}" for case in CASES])
def test_every_recorded_case_splits_as_recorded(case: dict) -> None:
    reasoning, content = split_reasoning(case["text"], case["format"])
    expected = case["expected"]
    assert (stripped(reasoning), stripped(content)) == (
        stripped(expected["reasoning"]),
        stripped(expected["content"]),
    )


words = st.text(alphabet="ab 1\n\t\r.{}\"'é🙂", max_size=30)


@functools.cache
def drawn_parts() -> list[tuple[str, str | None]]:
    return examples(st.tuples(words, st.none() | words), 100)


@functools.cache
def drawn_texts() -> list[tuple[str, bool | None]]:
    text = st.lists(st.sampled_from(TAGS) | words, max_size=12).map("".join)
    return examples(st.tuples(text, st.sampled_from([None, True, False])), 300)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("prefilled", [True, False])
def test_what_join_writes_splits_back_to_the_letter(name: str, prefilled: bool) -> None:
    entry = get_reasoning_format(name)
    for reasoning, content in drawn_parts():
        text = entry.join(reasoning, content, prefilled=prefilled)
        assert entry.split(text, prefilled) == (reasoning, content)


@pytest.mark.parametrize("name", FORMATS)
def test_no_text_raises_and_nothing_is_invented(name: str) -> None:
    for text, prefilled in drawn_texts():
        reasoning, content = split_reasoning(text, name, prefilled)
        for part in (reasoning, content):
            assert part is None or len(part) <= len(text) + 1


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("prefilled", [None, True, False])
def test_long_runs_are_split_in_linear_time(name: str, prefilled: bool | None) -> None:
    entry = get_reasoning_format(name)
    bad = [
        entry.opening,
        entry.closing,
        entry.opening + entry.closing,
        entry.opening[:-1],
        "<think:",
        "\n",
        " ",
        "<",
    ]
    if entry.ending:
        bad.append(entry.ending)
    for piece in bad:
        assert grows_linearly(lambda text: entry.split(text, prefilled), piece_run(piece)), piece


def piece_run(piece: str) -> Callable[[int], str]:
    return lambda size: piece * (size // len(piece))


def test_none_is_absent_and_empty_is_present_but_empty() -> None:
    assert split_reasoning("<think></think>Hi", "qwen3") == ("", "Hi")
    assert split_reasoning("Hi", "qwen3") == (None, "Hi")
    assert split_reasoning("<think>a</think>", "qwen3") == ("a", "")
    assert split_reasoning("<think>a", "qwen3") == ("a", None)
    assert split_reasoning("", "qwen3") == (None, None)


def test_prefilled_decides_where_the_text_alone_cannot() -> None:
    assert split_reasoning("so far so good", "qwen3", prefilled=True) == ("so far so good", None)
    assert split_reasoning("so far so good", "deepseek_r1", prefilled=False) == (None, "so far so good")
    assert split_reasoning("write </think> to end", "qwen3", prefilled=False) == (
        None,
        "write </think> to end",
    )
    assert split_reasoning("a</think>b", "qwen3") == ("a", "b")


def test_an_opening_tag_that_a_model_repeats_after_a_prefilled_one_is_not_part_of_the_thought() -> None:
    assert split_reasoning("\n<think>a</think>b", "deepseek_r1", prefilled=True) == ("a", "b")


def test_a_tag_inside_the_arguments_of_a_call_is_no_thought() -> None:
    call = '<tool_call>\n{"name": "write", "arguments": {"text": "<think>x</think>"}}\n</tool_call>'
    for name in ("qwen3", "glm45"):
        assert split_reasoning(call, name) == (None, call)
    assert split_reasoning(f"<think>a</think>{call}", "glm45") == ("a", call)


def test_an_answer_that_speaks_of_the_tag_stays_an_answer() -> None:
    assert split_reasoning("Write <think> first.", "qwen3") == (None, "Write <think> first.")


def test_a_call_that_is_only_quoted_in_a_closed_thought_stays_in_it() -> None:
    assert split_reasoning("<think>maybe <tool_call>x</tool_call></think>No.", "qwen3") == (
        "maybe <tool_call>x</tool_call>",
        "No.",
    )


def test_harmony_calls_stay_in_the_content_as_they_are_written() -> None:
    call = (
        "<|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json"
        '<|message|>{"a": 1}<|call|>'
    )
    text = f"<|channel|>analysis<|message|>Add.<|end|>{call}"
    assert split_reasoning(text, "openai_gptoss") == ("Add.", call)
    assert split_reasoning(f"Add.<|end|>{call}", "openai_gptoss", prefilled=True) == ("Add.", call)


def test_harmony_cut_off_in_its_analysis_is_a_thought_without_an_answer() -> None:
    assert split_reasoning("<|channel|>analysis<|message|>2 + 2", "openai_gptoss") == ("2 + 2", None)


def test_checkpoints_of_hy_v3_with_a_suffix_in_their_tags_are_read() -> None:
    assert split_reasoning("<think:6124c78e>a</think:6124c78e>b", "hy_v3") == ("a", "b")


def test_the_end_of_a_prompt_tells_whether_the_thought_is_open() -> None:
    assert opened_by_prompt("<|im_start|>assistant\n<think>\n", "qwen3")
    assert not opened_by_prompt("<|im_start|>assistant\n<think>\n\n</think>\n\n", "qwen3")
    assert not opened_by_prompt("What does <think> mean?<|im_end|>\n<|im_start|>assistant\n", "qwen3")


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'qwen3'"):
        split_reasoning("x", "qwen33")


def test_names_and_aliases_are_unique() -> None:
    names = [name for entry in list_reasoning_formats() for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
