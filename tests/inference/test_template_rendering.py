"""Templates are rendered as transformers and vLLM render them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollway.errors import UserError
from rollway.inference.chat_template import ChatTemplate, TemplateFailure

USER = [{"role": "user", "content": "hi"}]


def template(folder: Path, source: Any, **settings: Any) -> ChatTemplate:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": source, **settings}))
    return ChatTemplate(folder)


def test_special_tokens_reach_the_template_by_name(tmp_path: Path) -> None:
    settings = {"bos_token": {"content": "<s>", "special": True}, "eos_token": "</s>", "add_bos_token": True}
    it = template(tmp_path, "{{ bos_token }}{{ eos_token }}{{ add_bos_token }}", **settings)
    assert it.render(USER) == "<s></s>"


def test_blocks_are_trimmed_and_loops_can_be_left(tmp_path: Path) -> None:
    source = (
        "{% for message in messages %}\n  {% if loop.index0 %}{% break %}{% endif %}\n{{ message.content }}"
    )
    assert template(tmp_path, source + "{% endfor %}").render([*USER, *USER]) == "hi"


def test_the_mark_of_what_the_model_writes_is_only_a_block(tmp_path: Path) -> None:
    source = (
        "{% set x = 1 %}{% generation %}{{ messages[0].content }}{% set x = 2 %}{% endgeneration %}{{ x }}"
    )
    assert template(tmp_path, source).render(USER) == "hi1"


def test_json_is_written_without_escapes_for_html(tmp_path: Path) -> None:
    message = {"role": "user", "content": "<é> & 'x'"}
    assert template(tmp_path, "{{ messages[0].content | tojson }}").render([message]) == "\"<é> & 'x'\""
    spaced = "{{ {'a': [1]} | tojson(indent=2) }}{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}"
    assert template(tmp_path, spaced).render(USER) == '{\n  "a": [\n    1\n  ]\n}{"a": 2, "b": 1}'


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        (None, {}),
        ("{bad", {}),  # as vLLM has it; in token mode the model's own tokens stand in the prompt instead
        ("[1]", {}),
        ('"{}"', {}),
    ],
)
def test_arguments_reach_the_template_as_an_object_whatever_the_model_wrote(
    tmp_path: Path, arguments: Any, seen: dict[str, Any]
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    it = template(tmp_path, "{{ messages[0].tool_calls[0].function.arguments | tojson }}")
    assert json.loads(it.render([{"role": "assistant", "tool_calls": [call]}])) == seen


def test_the_callers_messages_and_tools_are_not_changed(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "f", "extra": 1}}]
    before = json.dumps([messages, tools])
    shown = template(tmp_path, "{{ tools | tojson }}").render(messages, tools)
    assert json.dumps([messages, tools]) == before
    assert list(json.loads(shown)[0]["function"]) == ["name", "description", "parameters"]


def test_a_thought_has_both_of_its_names(tmp_path: Path) -> None:
    it = template(tmp_path, "{{ messages[0].reasoning }}|{{ messages[0].reasoning_content }}")
    for field in ("reasoning", "reasoning_content"):
        assert it.render([{"role": "assistant", "content": "", field: "hm"}]) == "hm|hm"


def test_a_request_with_tools_takes_the_template_made_for_it(tmp_path: Path) -> None:
    sources = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    it = template(tmp_path, sources)
    tool = {"type": "function", "function": {"name": "f"}}
    assert (it.render(USER), it.render(USER, []), it.render(USER, [tool])) == ("plain", "plain", "tools")


def test_a_file_of_its_own_stands_over_the_settings(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("own")
    assert template(tmp_path, "other").render(USER) == "own"


def test_parts_of_text_are_joined(tmp_path: Path) -> None:
    it = template(tmp_path, "{{ messages[0].content }}")
    assert it.render([{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}]) == "a\nb"


@pytest.mark.parametrize(
    "message",
    [
        {"content": "x"},
        {"role": "user", "content": 3},
        {"role": "user", "content": [{"type": "image_url"}]},
        {"role": "assistant", "tool_calls": ["f"]},
    ],
)
def test_what_is_no_chat_message_is_refused(tmp_path: Path, message: Any) -> None:
    with pytest.raises(TemplateFailure):
        template(tmp_path, "x").render([message])


@pytest.mark.parametrize(
    "source", ["{{ raise_exception('no') }}", "{{ none + 1 }}", "{{ 1 / 0 }}", "{{ messages[7].content }}"]
)
def test_whatever_a_template_raises_is_a_refusal(tmp_path: Path, source: str) -> None:
    with pytest.raises(TemplateFailure):
        template(tmp_path, source).render(USER)


def test_a_template_cannot_reach_out(tmp_path: Path) -> None:
    with pytest.raises(TemplateFailure):
        template(tmp_path, "{{ messages.__class__.__mro__ }}").render(USER)


@pytest.mark.parametrize(
    ("source", "said"), [("{% if %}", "broken: line 1"), (None, "no chat_template"), ([], "no chat_template")]
)
def test_a_folder_without_a_template_is_told_in_one_line(tmp_path: Path, source: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        template(tmp_path, source)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
