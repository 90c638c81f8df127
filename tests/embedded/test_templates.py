"""A chat becomes the prompt that transformers and vLLM would make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollway.embedded.policy import Policy, find_policy
from rollway.errors import UserError
from rollway.inference.chat_template import ChatTemplate, TemplateFailure

TOOL = {
    "type": "function",
    "function": {
        "parameters": {"type": "object", "properties": {"a": {"type": "integer", "description": "<é>"}}},
        "name": "add",
        "surplus": 1,
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1, "b": "é"}'}}
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]},
    {"role": "assistant", "content": "So: ", "reasoning_content": "hm", "tool_calls": [CALL]},
    {"role": "tool", "content": "3", "tool_call_id": "c1"},
]


def render(tmp_path: Path, source: str, messages: list[dict[str, Any]], **values: Any) -> str:
    (tmp_path / "chat_template.jinja").write_text(source)
    return ChatTemplate(tmp_path).render(messages, **values)


def test_tools_are_written_in_the_servers_order_of_fields_and_nothing_is_escaped(policy: Policy) -> None:
    text = policy.template.render([{"role": "user", "content": "<b>"}], [TOOL])
    assert '{"type": "function", "function": {"name": "add", "description": null, "parameters": ' in text
    assert '"<é>"' in text
    assert "surplus" not in text
    assert text.endswith("<|im_start|>user\n<b><|im_end|>\n<|im_start|>assistant\n")


def test_parts_of_a_content_are_lines_and_arguments_are_objects(policy: Policy) -> None:
    text = policy.template.render(CHAT, add_generation_prompt=False)
    assert "<|im_start|>user\n1\n2<|im_end|>" in text
    assert '<think>hm</think>So: <tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}' in text
    assert text.endswith("<|im_start|>tool\n3<|im_end|>\n")


@pytest.mark.parametrize("arguments", ["", None, "no json", "[1]", "null", 3])
def test_arguments_that_are_no_object_become_an_empty_one(policy: Policy, arguments: Any) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    text = policy.template.render([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert '{"name": "f", "arguments": {}}' in text


def test_messages_are_not_changed(policy: Policy) -> None:
    before = repr(CHAT)
    policy.template.render(CHAT, [TOOL])
    assert repr(CHAT) == before


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": "x"}, "needs a role"),
        ({"role": "user", "content": 3}, "must be text or a list of parts"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "reads text only"),
        ({"role": "assistant", "tool_calls": [{"type": "function"}]}, "of type 'function'"),
    ],
)
def test_a_malformed_message_is_refused(policy: Policy, message: dict[str, Any], words: str) -> None:
    with pytest.raises(TemplateFailure, match=words):
        policy.template.render([message])


def test_a_template_may_refuse_and_may_ask_for_the_date(tmp_path: Path) -> None:
    with pytest.raises(TemplateFailure, match="no system message"):
        render(tmp_path, "{{ raise_exception('no system message') }}", CHAT)
    assert render(tmp_path, "{{ strftime_now('%Y') | length }}{{ thinking }}", CHAT, thinking=1) == "41"
    with pytest.raises(UserError, match="is broken"):
        render(tmp_path, "{% if %}", CHAT)


def test_a_folder_without_a_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no chat_template\.jinja"):
        ChatTemplate(tmp_path)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["random", "calculator"])
def test_prompts_agree_with_transformers(name: str, policy_folder: Path) -> None:
    from transformers import AutoTokenizer

    folder = policy_folder if name == "random" else find_policy(name)
    ours = ChatTemplate(folder)
    reference = AutoTokenizer.from_pretrained(folder)
    parsed = {**CALL, "function": {"name": "add", "arguments": {"a": 1, "b": "é"}}}
    chat = [CHAT[0], {"role": "user", "content": "1\n2"}, {**CHAT[2], "tool_calls": [parsed]}, CHAT[3]]
    tool = {"type": "function", "function": {"name": "add", "description": None, "parameters": {}}}
    for tools in (None, [tool]):
        for prompted in (True, False):
            expected = reference.apply_chat_template(
                chat, tools=tools, add_generation_prompt=prompted, tokenize=False
            )
            assert ours.render(chat, tools, add_generation_prompt=prompted) == expected
