"""A model's template, else its name, says which formats it writes; and the choice says why."""

from __future__ import annotations

import pytest

from rollway.errors import UserError
from rollway.tool_parsers import ToolFormat, detect, get_parser, get_reasoning_format, list_formats
from rollway.tool_parsers.detect import choose_format, choose_reasoning

SHARE_A_TAG = {"hermes", "ernie45", "granite", "granite4", "hunyuan_a13b"}
NO_TAG = {"llama3_json", "pythonic", "xlam"}


@pytest.mark.parametrize("format", list_formats(), ids=lambda format: format.name)
def test_a_template_that_holds_a_formats_tags_chooses_it(format: ToolFormat) -> None:
    if format.name not in SHARE_A_TAG | NO_TAG:
        template = format.example.replace("get_weather", "{{ name }}")
        chosen = choose_format(template, "some-model")
        assert chosen.name == format.name
        assert "chat template" in chosen.reason


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-8B", "hermes"),
        ("Qwen/Qwen2.5-7B-Instruct", "hermes"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_coder"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "hermes"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3_json"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4_pythonic"),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek_v3"),
        ("deepseek-ai/DeepSeek-V3.1", "deepseek_v31"),
        ("deepseek-ai/DeepSeek-V3.2-Exp", "deepseek_v32"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "hermes"),
        ("moonshotai/Kimi-K2-Instruct", "kimi_k2"),
        ("zai-org/GLM-4.5-Air", "glm45"),
        ("zai-org/GLM-4.7", "glm47"),
        ("openai/gpt-oss-20b", "openai"),
        ("ibm-granite/granite-4.0-h-small", "granite4"),
        ("ibm-granite/granite-3.3-8b-instruct", "granite"),
        ("Salesforce/Llama-xLAM-2-8b-fc-r", "xlam"),
        ("baidu/ERNIE-4.5-21B-A3B-Thinking", "ernie45"),
        ("google/gemma-4-12b-it", "gemma4"),
    ],
)
def test_without_a_template_the_name_decides(model: str, name: str) -> None:
    chosen = choose_format(None, model)
    assert chosen.name == name
    assert model in chosen.reason


def test_the_template_is_believed_before_the_name() -> None:
    hermes = "For each call return JSON within <tool_call></tool_call>"
    assert choose_format(hermes, "meta-llama/Llama-3.1-8B-Instruct").name == "hermes"
    assert choose_format(hermes, "ibm-granite/granite-4.0-h-small").name == "granite4"


def test_where_nothing_is_known_there_is_no_guess() -> None:
    with pytest.raises(UserError, match="my-model"):
        choose_format("{{ messages }}", "my-model")
    assert choose_reasoning("{{ messages }}", "my-model") is None


@pytest.mark.parametrize(
    ("template", "model", "name"),
    [
        ("<think>", "my-model", "qwen3"),
        ("<think>", "zai-org/GLM-4.6", "glm45"),
        ("[THINK]", "my-model", "mistral"),
        (None, "Qwen/Qwen3-8B", "qwen3"),
        (None, "Qwen/Qwen3-4B-Instruct-2507", None),
        (None, "deepseek-ai/DeepSeek-R1", "deepseek_r1"),
        (None, "openai/gpt-oss-120b", "openai_gptoss"),
    ],
)
def test_reasoning_is_chosen_in_the_same_way(template: str | None, model: str, name: str | None) -> None:
    chosen = choose_reasoning(template, model)
    assert (chosen.name if chosen else None) == name


def test_every_choice_is_a_format_that_exists() -> None:
    for name, _ in (*detect._TAGS, *detect._NAMES):
        assert get_parser(name).name == name
    for name, _ in (*detect._REASONING_TAGS, *detect._REASONING_NAMES):
        assert get_reasoning_format(name).name == name
