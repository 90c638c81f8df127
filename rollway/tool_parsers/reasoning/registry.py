"""Every reasoning format, by the names that vLLM and SGLang users know, and the one way to split a text."""

from __future__ import annotations

from functools import cache

from rollway.errors import UserError, nearest
from rollway.tool_parsers.reasoning import harmony
from rollway.tool_parsers.reasoning.format import ReasoningFormat, Split
from rollway.tool_parsers.reasoning.tags import tag_format

_TOOL_CALL = ("<tool_call>",)
_FUNCTION = ("<tool_call>", "<function=")


@cache
def _formats() -> tuple[ReasoningFormat, ...]:
    """All of them. A function, so that importing this file compiles no pattern."""
    return (
        tag_format(
            "deepseek_r1",
            "DeepSeek-R1 and its distillations, QwQ",
            calls=("<｜tool▁calls▁begin｜>", "<tool_call>"),
            prefilled=True,
            aliases=("deepseek-r1", "qwq"),
        ),
        tag_format(
            "deepseek_v3",
            "DeepSeek-V3.1 and V3.2 (thinking and not)",
            calls=("<｜tool▁calls▁begin｜>", "<｜DSML｜"),
            aliases=("deepseek-v3", "deepseek_v31", "deepseek_v32", "holo2", "poolside_v1"),
        ),
        tag_format(
            "deepseek_v4",
            "DeepSeek-V4",
            calls=("<｜DSML｜",),
            aliases=("deepseek-v4", "deepseek_v41"),
        ),
        tag_format(
            "qwen3",
            "Qwen3 and later, and models trained on their template",
            calls=_FUNCTION,
            aliases=(
                "qwen",
                "think",
                "interns1",
                "mimo",
                "nemotron_v3",
                "nano_v3",
                "granite_thinking_parser",
            ),
        ),
        tag_format(
            "qwen3_thinking",
            "Qwen3 Thinking 2507, and other models with that template",
            calls=_FUNCTION,
            prefilled=True,
            aliases=("qwen3-thinking",),
        ),
        tag_format(
            "glm45",
            "GLM-4.5 to GLM-4.7, Ling 3",
            calls=_TOOL_CALL,
            every=True,
            aliases=("glm47", "glm", "ling3"),
        ),
        tag_format(
            "kimi_k2",
            "Kimi K2 Thinking",
            calls=("<|tool_calls_section_begin|>",),
            aliases=("kimi_k2_thinking",),
        ),
        tag_format("kimi", "Kimi-VL Thinking", "◁think▷", "◁/think▷"),
        tag_format(
            "seed_oss",
            "Seed-OSS",
            "<seed:think>",
            "</seed:think>",
            special_marks=True,
            calls=("<seed:tool_call>", "<function="),
            prefilled=True,
            aliases=("seed",),
        ),
        tag_format(
            "minimax_m2",
            "MiniMax-M2",
            calls=("<minimax:tool_call>",),
            prefilled=True,
            aliases=("minimax", "minimax-m2"),
        ),
        tag_format(
            "minimax_m3", "MiniMax-M3", "<mm:think>", "</mm:think>", calls=("]<]minimax[>[<tool_call>",)
        ),
        tag_format(
            "mistral",
            "Magistral and later Mistral models",
            "[THINK]",
            "[/THINK]",
            special_marks=True,
            calls=("[TOOL_CALLS]",),
            every=True,
            aliases=("magistral",),
        ),
        tag_format(
            "granite",
            "Granite 3.2 and 3.3",
            "Here is my thought process:",
            "Here is my response:",
            opening_pattern=r"Here(?:'s| is) my thought process:",
            closing_pattern=r"Here(?:'s| is) my response:",
            calls=("<|tool_call|>", "<tool_call>"),
            infers=False,
        ),
        tag_format(
            "gemma4",
            "Gemma 4",
            "<|channel>thought\n",
            "<channel|>",
            opening_pattern=r"<\|channel>(?:thought\n?)?",
            special_marks=True,
            calls=("<|tool_call>",),
        ),
        harmony.FORMAT,
        tag_format("olmo3", "OLMo 3 Think", calls=("<function_calls>",)),
        tag_format(
            "hunyuan_a13b",
            "Hunyuan-A13B",
            "<think>\n",
            "\n</think>\n<answer>\n",
            opening_pattern=r"<think>\n?",
            closing_pattern=r"\n?</think>\n?(?:<answer>\n?)?",
            answer=(r"\s*<answer>\n?", r"\n?</answer>"),
            ending="\n</answer>",
            calls=("<tool_calls>",),
            aliases=("hunyuan",),
        ),
        tag_format(
            "hy_v3",
            "Hunyuan 3 (Hy3)",
            opening_pattern=r"<think(?::[\w-]{1,64})?>",
            closing_pattern=r"</think(?::[\w-]{1,64})?>",
            calls=("<tool_calls", "<tool_call"),
            aliases=("hy_v4",),
        ),
        tag_format("step3", "Step-3", calls=("<｜tool_calls_begin｜>",), prefilled=True),
        tag_format("step3p5", "Step-3.5 and Step-3.7", calls=_FUNCTION, prefilled=True),
        tag_format(
            "ernie45",
            "ERNIE 4.5 Thinking",
            closing_pattern=r"</think>(?:\s{0,8}<response>\n?)?",
            answer=(r"\s*<response>\n?", r"\n?</response>\n?"),
            calls=_TOOL_CALL,
            prefilled=True,
            aliases=("ernie",),
        ),
        tag_format(
            "cohere_command3",
            "Command A and later Cohere models",
            "<|START_THINKING|>",
            "<|END_THINKING|><|START_RESPONSE|>",
            closing_pattern=r"<\|END_THINKING\|>(?:<\|START_RESPONSE\|>)?",
            answer=(r"\s*<\|START_RESPONSE\|>", r"<\|END_RESPONSE\|>"),
            ending="<|END_RESPONSE|>",
            special_marks=True,
            calls=("<|START_ACTION|>",),
            aliases=("cohere",),
        ),
        tag_format(
            "plamo3",
            "PLaMo 3",
            "<|plamo:begin_think:plamo|>",
            "<|plamo:end_think:plamo|>",
            special_marks=True,
            calls=("<|plamo:begin_tool_requests:plamo|>",),
        ),
        tag_format(
            "k2_horizon",
            "K2 Horizon",
            "<ifm|think>",
            "</ifm|think>",
            opening_pattern=r"<ifm\|think(?:_fast|_faster)?>",
            closing_pattern=r"</ifm\|think(?:_fast|_faster)?>",
            calls=("<ifm|tool_calls>",),
        ),
    )


@cache
def _by_name() -> dict[str, ReasoningFormat]:
    return {name: entry for entry in _formats() for name in (entry.name, *entry.aliases)}


def list_reasoning_formats() -> list[ReasoningFormat]:
    """All formats, sorted by name."""
    return sorted(_formats(), key=lambda entry: entry.name)


def get_reasoning_format(name: str) -> ReasoningFormat:
    """The format of this name or alias. Raises UserError, with the nearest name, when there is none."""
    entry = _by_name().get(name)
    if entry is None:
        known = ", ".join(sorted(entry.name for entry in _formats()))
        raise UserError(f"unknown reasoning format {name!r}{nearest(name, _by_name())}; there are: {known}")
    return entry


def split_reasoning(text: str, format: str, prefilled: bool | None = None) -> Split:
    """Take a model's thought out of its text.

    `prefilled` says whether the prompt had already opened the thought (`opened_by_prompt` can tell). None
    takes the format's habit, and lets a closing tag without an opening one show that it had.

    Returns (reasoning, content), characters unchanged. None: there is no such part; "": it is there, and
    empty. So ("...", None) is a thought that was cut off before an answer. Never raises on any text.

    Raises:
        UserError: there is no such format; the message names one that is near.
    """
    return get_reasoning_format(format).split(text, prefilled)


def opened_by_prompt(prompt: str, format: str) -> bool:
    """Whether a rendered prompt ends inside a thought, so that the model's text has no opening tag.

    Only the end counts: a prompt that ends with `<think>` and a line break is open; one that ends with an
    empty thought is not, and neither is one that speaks of the tag somewhere.

    Raises:
        UserError: there is no such format.
    """
    entry = get_reasoning_format(format)
    return prompt.rstrip().endswith(entry.opening.rstrip())
