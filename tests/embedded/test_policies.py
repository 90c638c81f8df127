"""The policy folders: what they hold, and that a turn rendered again is the very text that was sampled."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

import rollway
from rollway.environments.calculator import CalculatorEnvironment

POLICIES = Path(rollway.__file__).parent / "embedded" / "policies"
FOLDERS = [POLICIES / "calculator", POLICIES / "calculator-weak"]
FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
TOOLS = [tool.definition() for tool in CalculatorEnvironment.tools]
QUESTION = {"role": "user", "content": "What is 2 + 3 * -4?"}
NUMBERS = st.integers(-(10**6), 10**6)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=30)


class Rendering:
    """The folder's template in the jinja environment of transformers and vLLM, and its tokenizer."""

    def __init__(self, folder: Path) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template = environment.from_string((folder / "chat_template.jinja").read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def render(self, messages: list, tools: list | None = None, *, generate: bool = True) -> str:
        return self.template.render(messages=messages, tools=tools, add_generation_prompt=generate)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).ids

    def decode(self, ids: list[int], *, skip_special: bool = False) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special)


@pytest.fixture(scope="module")
def template() -> Rendering:
    return Rendering(POLICIES / "calculator")


def tensors(folder: Path) -> dict[str, Any]:
    """The header of the weights: dtype and shape by name."""
    with (folder / "model.safetensors").open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return header


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_holds_what_servers_read_and_is_below_three_megabytes(folder):
    assert {path.name for path in folder.iterdir()} == FILES
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_weights_are_a_qwen3_of_the_documented_size_in_bfloat16(folder):
    header = tensors(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    count = 0
    for entry in header.values():
        size = 1
        for dimension in entry["shape"]:
            size *= dimension
        count += size
    assert count == 935_936
    assert header["model.embed_tokens.weight"]["shape"] == [config["vocab_size"], config["hidden_size"]]
    assert "lm_head.weight" not in header
    assert config["tie_word_embeddings"]


def test_the_two_policies_differ_in_their_weights_alone():
    strong, weak = FOLDERS
    for name in FILES - {"model.safetensors"}:
        assert (strong / name).read_bytes() == (weak / name).read_bytes(), name
    assert (strong / "model.safetensors").read_bytes() != (weak / "model.safetensors").read_bytes()
    assert tensors(strong).keys() == tensors(weak).keys()


def test_generation_ends_at_the_end_of_a_message(template):
    config = json.loads((POLICIES / "calculator" / "generation_config.json").read_text())
    assert [template.decode([token]) for token in config["eos_token_id"]] == ["<|im_end|>", "<|endoftext|>"]
    settings_of_tokenizer = json.loads((POLICIES / "calculator" / "tokenizer_config.json").read_text())
    assert settings_of_tokenizer["eos_token"] == "<|im_end|>"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_tokenizer(template, text):
    assert template.decode(template.encode(text)) == text


@given(NUMBERS)
def test_every_digit_and_minus_is_a_token_of_its_own(template, number):
    text = f'{{"a": {number}, "b": {number}}}'
    digits = [template.decode([token]) for token in template.encode(text)]
    assert [piece for piece in digits if any(c in "-0123456789" for c in piece)] == list(str(number)) * 2


def test_only_the_message_markers_are_special_tokens(template):
    text = "<|im_start|>a<think>b</think><tool_call>c</tool_call><tool_response>d</tool_response><|im_end|>"
    ids = template.encode(text)
    assert template.decode(ids) == text
    assert template.decode(ids, skip_special=True) == text.replace("<|im_start|>", "").replace(
        "<|im_end|>", ""
    )
    for tag in ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"):
        assert len(template.encode(tag)) == 1


def test_the_prompt_is_written_as_documented(template):
    assert template.render([QUESTION], tools=TOOLS) == (
        "<|im_start|>system\n# Tools\n<tools>\n"
        '{"name": "add", "arguments": {"a": "integer", "b": "integer"}}\n'
        '{"name": "subtract", "arguments": {"a": "integer", "b": "integer"}}\n'
        '{"name": "multiply", "arguments": {"a": "integer", "b": "integer"}}\n'
        "</tools><|im_end|>\n<|im_start|>user\nWhat is 2 + 3 * -4?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_system_message_of_ones_own_stands_before_the_tools(template):
    messages = [{"role": "system", "content": "Be brief."}, QUESTION]
    assert template.render(messages, tools=TOOLS).startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")
    assert template.render(messages).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert template.render([QUESTION]).startswith("<|im_start|>user\nWhat")


def test_results_of_one_turn_share_a_message(template):
    results = [{"role": "tool", "content": "5"}, {"role": "tool", "content": "-7"}]
    assert template.render([QUESTION, *results, QUESTION], generate=False) == (
        "<|im_start|>user\nWhat is 2 + 3 * -4?<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n5\n</tool_response>\n<tool_response>\n-7\n</tool_response><|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 3 * -4?<|im_end|>\n"
    )


def test_tools_without_a_schema_and_bare_functions_are_shown_too(template):
    tools = [
        {"type": "function", "function": {"name": "now"}},
        {"name": "find", "parameters": {"type": "object", "properties": {"items": {"anyOf": []}}}},
    ]
    text = template.render([QUESTION], tools=tools)
    assert '{"name": "now", "arguments": {}}\n{"name": "find", "arguments": {"items": "any"}}\n' in text


def sampled(thought: str, calls: list[tuple[str, int, int]], answer: str = "") -> str:
    """A turn as the policy writes it, without the end token."""
    blocks = [
        f'<tool_call>\n{{"name": "{name}", "arguments": {{"a": {a}, "b": {b}}}}}\n</tool_call>'
        for name, a, b in calls
    ]
    return f"<think>{thought}</think>" + "".join(blocks) + answer


def history(thought: str, calls: list[tuple[str, int, int]], *, split: str, as_text: bool) -> dict[str, Any]:
    """The turn as a message: the thought in a field of its own or in the content."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    if split == "content":
        message["content"] = f"<think>{thought}</think>"
    else:
        message[split] = thought
    message["tool_calls"] = []
    for name, a, b in calls:
        arguments: Any = {"a": a, "b": b}
        if as_text:
            arguments = json.dumps(arguments)
        message["tool_calls"].append({"type": "function", "function": {"name": name, "arguments": arguments}})
    return message


CALLS = st.lists(st.tuples(st.sampled_from(["add", "subtract", "multiply"]), NUMBERS, NUMBERS), max_size=3)


@given(
    thought=TEXTS.filter(bool),
    calls=CALLS,
    split=st.sampled_from(["content", "reasoning_content", "reasoning"]),
    as_text=st.booleans(),
)
def test_a_turn_is_rendered_again_as_the_very_tokens_that_were_sampled(
    template, thought, calls, split, as_text
):
    prompt = template.encode(template.render([QUESTION], tools=TOOLS))
    turn = template.encode(sampled(thought, calls) + "<|im_end|>")
    message = history(thought, calls, split=split, as_text=as_text)
    results = [{"role": "tool", "content": "5"} for _ in calls] or [QUESTION]
    following = template.encode(template.render([QUESTION, message, *results], tools=TOOLS))
    assert following[: len(prompt) + len(turn)] == prompt + turn
    later = [QUESTION, message, *results, {"role": "assistant", "content": "So."}, QUESTION]
    assert template.encode(template.render(later, tools=TOOLS))[: len(following)] == following


@given(TEXTS)
def test_text_is_written_back_to_the_letter(template, text):
    message = {"role": "assistant", "content": text}
    rendered = template.render([QUESTION, message], generate=False)
    assert rendered.endswith(f"<|im_start|>assistant\n{text}<|im_end|>\n")


def test_arguments_that_are_no_json_are_shown_as_they_were_written(template):
    call = {"function": {"name": "add", "arguments": '{"a": 1,'}}
    text = template.render([QUESTION, {"role": "assistant", "content": "", "tool_calls": [call]}])
    assert '<tool_call>\n{"name": "add", "arguments": {"a": 1,}\n</tool_call><|im_end|>' in text
