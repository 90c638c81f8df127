"""Choosing formats: first by the tags that stand in the chat template, then by the model's name.

A template says what the model was trained to write, so it is believed first. Each choice comes with the
reason for it, which belongs in the log; where nothing fits, there is no choice.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rollway.errors import UserError


class Choice(NamedTuple):
    """A format and why it was chosen."""

    name: str
    reason: str


_TAGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("deepseek_v32", ("<｜DSML｜", "function_calls")),
    ("deepseek_v4", ("<｜DSML｜",)),
    ("deepseek_v3", ("<｜tool▁calls▁begin｜>", "```json")),
    ("deepseek_v31", ("<｜tool▁calls▁begin｜>",)),
    ("kimi_k2", ("<|tool_calls_section_begin|>",)),
    ("longcat", ("<longcat_tool_call>",)),
    ("seed_oss", ("<seed:tool_call>",)),
    ("minimax_m2", ("<minimax:tool_call>",)),
    ("dots", ("<dots_function_call>",)),
    ("step3", ("<steptml:",)),
    ("hy_v3", ("<tool_sep>", "<arg_key>")),
    ("glm47", ("}<arg_key>",)),
    ("glm45", ("<arg_key>",)),
    ("qwen3_coder", ("<function=", "<parameter=")),
    ("gemma4", ("<|tool_call>",)),
    ("functiongemma", ("<start_function_call>",)),
    ("apertus", ("<|tools_prefix|>",)),
    ("cohere_command3", ("<|START_ACTION|>",)),
    ("openai", ("<|channel|>", "<|message|>")),
    ("lfm2", ("<|tool_call_start|>",)),
    ("olmo3", ("<function_calls>",)),
    ("internlm", ("<|action_start|>",)),
    ("phi4_mini_json", ("functools",)),
    ("granite-20b-fc", ("<function_call>",)),
    ("granite", ("<|tool_call|>",)),
    ("hunyuan_a13b", ("<tool_calls>", "<answer>")),
    ("jamba", ("<tool_calls>",)),
    ("mistral", ("[TOOL_CALLS]",)),
    ("llama4_pythonic", ("<|python_start|>",)),
    ("llama3_json", ("<|python_tag|>",)),
)
"""A format and the tags that its templates all hold; the first that fits counts."""

_ONLY_IN_TEMPLATES = frozenset({"deepseek_v32", "deepseek_v4", "deepseek_v3", "qwen3_coder", "glm47"})
_MARKS = (
    ("deepseek_v32", ("DSML", "invoke")),
    ("deepseek_v3", ("<｜tool▁calls▁begin｜>", "```json")),
    ("qwen3_coder", ("<function=",)),
    *((name, tags) for name, tags in _TAGS if name not in _ONLY_IN_TEMPLATES),
    ("hermes", ("<tool_call>",)),
)
"""The same for a model's own text, which holds one call and not all that a template says."""

_SHARED_TAG = "<tool_call>"
"""Many formats have this one; the model's name tells them apart."""

_NAMES: tuple[tuple[str, str], ...] = (
    ("hermes", r"hermes"),
    ("deepseek_v4", r"deepseek.*v4"),
    ("deepseek_v32", r"deepseek.*v3\.?2"),
    ("deepseek_v31", r"deepseek.*v3\.?1"),
    ("deepseek_v3", r"deepseek.*(v3|r1(?!-distill))"),
    ("kimi_k2", r"kimi[-_]?k2"),
    ("xlam", r"xlam"),
    ("longcat", r"longcat"),
    ("qwen3_coder", r"qwen3[-_]?coder|qwen3\.[5-9]|nemotron[-_]?3|step-?3\.[57]"),
    ("step3", r"step-?3"),
    ("seed_oss", r"seed[-_]?oss"),
    ("minimax_m2", r"minimax[-_]?m2"),
    ("glm47", r"glm-?(4\.7|5)|ling[-_]?3"),
    ("glm45", r"glm-?4\.[56]"),
    ("functiongemma", r"functiongemma"),
    ("gemma4", r"gemma-?4"),
    ("openai", r"gpt-?oss"),
    ("apertus", r"apertus"),
    ("cohere_command3", r"command[-_]?(a|r7b)|c4ai"),
    ("lfm2", r"lfm-?2"),
    ("olmo3", r"olmo-?3"),
    ("internlm", r"internlm"),
    ("phi4_mini_json", r"phi-?4[-_]mini"),
    ("granite-20b-fc", r"granite-20b"),
    ("granite4", r"granite[-_]?4"),
    ("granite", r"granite"),
    ("hunyuan_a13b", r"hunyuan[-_]?a13b"),
    ("hy_v3", r"hunyuan[-_]?3|\bhy-?3"),
    ("jamba", r"jamba"),
    ("ernie45", r"ernie[-_]?4\.?5"),
    ("dots", r"dots\.?llm"),
    ("mistral", r"mistral|mixtral|ministral|devstral|codestral|magistral"),
    ("llama4_pythonic", r"llama-?4"),
    ("llama3_json", r"llama-?3"),
    ("pythonic", r"toolace"),
    ("hermes", r"qwen|qwq"),
)

_REASONING_TAGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("seed_oss", ("<seed:think>",)),
    ("mistral", ("[THINK]",)),
    ("openai_gptoss", ("<|channel|>", "analysis")),
    ("gemma4", ("<|channel>",)),
    ("cohere_command3", ("<|START_THINKING|>",)),
    ("granite", ("Here is my thought process",)),
    ("minimax_m3", ("<mm:think>",)),
    ("k2_horizon", ("<ifm|think",)),
    ("plamo3", ("<|plamo:begin_think:plamo|>",)),
    ("hunyuan_a13b", ("<think>", "<answer>")),
)

_REASONING_NAMES: tuple[tuple[str, str], ...] = (
    ("deepseek_v4", r"deepseek.*v4"),
    ("deepseek_v3", r"deepseek.*v3\.?[12]"),
    ("deepseek_r1", r"deepseek.*r1|qwq"),
    ("kimi_k2", r"kimi[-_]?k2.*think"),
    ("seed_oss", r"seed[-_]?oss"),
    ("minimax_m3", r"minimax[-_]?m3"),
    ("minimax_m2", r"minimax[-_]?m2"),
    ("step3p5", r"step-?3\.[57]"),
    ("step3", r"step-?3"),
    ("glm45", r"glm-?(4\.[5-9]|5)|ling[-_]?3"),
    ("gemma4", r"gemma-?4"),
    ("openai_gptoss", r"gpt-?oss"),
    ("cohere_command3", r"command-a-reasoning"),
    ("olmo3", r"olmo-?3.*think"),
    ("granite", r"granite-?3\.[23]"),
    ("hunyuan_a13b", r"hunyuan[-_]?a13b"),
    ("hy_v3", r"hunyuan[-_]?3|\bhy-?3"),
    ("ernie45", r"ernie[-_]?4\.?5.*think"),
    ("mistral", r"magistral"),
    ("qwen3", r"qwen-?3(?!.*(coder|instruct))|mimo|nemotron[-_]?3"),
)


def choose_format(chat_template: str | None, model_name: str) -> Choice:
    """The tool-call format of a model, for ``tool_parser: auto``.

    Raises:
        UserError: neither the template nor the name says it.
    """
    tagged = _by_tags(chat_template or "", _TAGS)
    if tagged is not None:
        return tagged
    named = _by_name(model_name, _NAMES)
    if _SHARED_TAG in (chat_template or ""):
        if named is not None and named.name in ("ernie45", "granite", "granite4", "xlam"):
            return Choice(named.name, f"the chat template holds {_SHARED_TAG!r}, and {named.reason}")
        return Choice("hermes", f"the chat template holds {_SHARED_TAG!r}")
    if named is not None:
        return named
    raise UserError(
        f"tool_parser 'auto' cannot choose for model {model_name!r}: no tag in its chat template and no part "
        f"of its name is known; name a format (`rollway parse --list` shows them)"
    )


def choose_by_marks(text: str) -> Choice | None:
    """The format whose marks stand in a model's text; None where none of them says it."""
    return _by_tags(text, _MARKS)


def choose_reasoning(chat_template: str | None, model_name: str) -> Choice | None:
    """The reasoning format of a model; None when nothing says that it writes its thoughts down."""
    tagged = _by_tags(chat_template or "", _REASONING_TAGS)
    if tagged is not None:
        return tagged
    named = _by_name(model_name, _REASONING_NAMES)
    if "<think" not in (chat_template or ""):
        return named
    if named is not None:
        return Choice(named.name, f"the chat template holds '<think', and {named.reason}")
    return Choice("qwen3", "the chat template holds '<think'")


def _by_tags(chat_template: str, table: tuple[tuple[str, tuple[str, ...]], ...]) -> Choice | None:
    for name, tags in table:
        if all(tag in chat_template for tag in tags):
            return Choice(name, f"the chat template holds {' and '.join(map(repr, tags))}")
    return None


def _by_name(model_name: str, table: tuple[tuple[str, str], ...]) -> Choice | None:
    for name, pattern in table:
        match = re.search(pattern, model_name, re.IGNORECASE)
        if match is not None:
            return Choice(name, f"the model's name {model_name!r} holds {match[0]!r}")
    return None
