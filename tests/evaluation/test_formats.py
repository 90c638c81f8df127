"""``auto`` finds the model's formats, and says which and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.formats import check_formats, choose_formats


def config(name: str, **fields: object) -> EvalConfig:
    model = {"base_url": "http://127.0.0.1:1", "name": name}
    return EvalConfig(environment="calculator", model=model, **fields)


def test_a_named_format_is_left_alone() -> None:
    named = config("some-model", tool_parser="hermes", reasoning_parser=None)
    assert choose_formats(named, None) == (named, [])


def test_the_models_name_decides_where_its_folder_is_elsewhere() -> None:
    chosen, lines = choose_formats(
        config("zai-org/GLM-4.5-Air", tool_parser="auto", reasoning_parser="auto"), None
    )
    assert (chosen.tool_parser, chosen.reasoning_parser) == ("glm45", "glm45")
    assert all("glm45, because the model's name" in line for line in lines)


def test_the_chat_template_decides_where_it_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ '[TOOL_CALLS]' }}")
    chosen, lines = choose_formats(config(str(tmp_path), tool_parser="auto"), None)
    assert chosen.tool_parser == "mistral"
    assert "the chat template holds '[TOOL_CALLS]'" in lines[0]


def test_a_template_inside_the_tokenizers_settings_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "<|tool_calls_section_begin|>"}')
    assert choose_formats(config(str(tmp_path), tool_parser="auto"), None)[0].tool_parser == "kimi_k2"


def test_the_shipped_policys_own_template_is_read() -> None:
    shipped = EvalConfig(environment="calculator", tool_parser="auto")
    assert choose_formats(shipped, shipped.model.policy)[0].tool_parser == "hermes"


def test_no_choice_is_a_users_matter_and_no_silent_default() -> None:
    with pytest.raises(UserError, match="cannot choose for model 'my-own'"):
        choose_formats(config("my-own", tool_parser="auto"), None)


@pytest.mark.parametrize("field", ["tool_parser", "reasoning_parser"])
def test_auto_is_a_format_and_a_misspelt_name_is_not(field: str) -> None:
    check_formats(config("m", **{field: "auto"}))
    with pytest.raises(UserError, match="qwen3"):
        check_formats(config("m", **{field: "qwen33"}))
