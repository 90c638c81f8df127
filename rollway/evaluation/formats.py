"""``tool_parser: auto`` and ``reasoning_parser: auto``: the formats of the model that was reached.

A run keeps ``auto`` in its config.yaml, so that the same request is still the same on resume; what was
chosen, and why, stands in the log.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from rollway.evaluation.config import EvalConfig, ModelConfig
from rollway.inference.chat_template import template_sources
from rollway.tool_parsers import get_parser, get_reasoning_format
from rollway.tool_parsers.detect import choose_format, choose_reasoning

AUTO = "auto"


def check_formats(config: EvalConfig) -> None:
    """
    Raises:
        UserError: a format is named that does not exist; the nearest names are in the message.
    """
    if config.tool_parser not in (None, AUTO):
        get_parser(config.tool_parser)
    if config.tools_in_prompt is not None:
        get_parser(config.tools_in_prompt)
    if config.reasoning_parser not in (None, AUTO):
        get_reasoning_format(config.reasoning_parser)


def choose_formats(config: EvalConfig, policy: str | None) -> tuple[EvalConfig, list[str]]:
    """``config`` with a format's name in the place of each ``auto``, and a line for the log about each.

    ``model.name`` must be filled in; ``policy`` is the embedded one, where a server of our own runs it.

    Raises:
        UserError: neither the chat template nor the model's name says how its tool calls are written.
    """
    if AUTO not in (config.tool_parser, config.reasoning_parser):
        return config, []
    template, name = _chat_template(config.model, policy), config.model.name or ""
    changes: dict[str, str | None] = {}
    lines = []
    if config.tool_parser == AUTO:
        chosen = choose_format(template, name)
        changes["tool_parser"] = chosen.name
        lines.append(f"tool_parser auto: {chosen.name}, because {chosen.reason}")
    if config.reasoning_parser == AUTO:
        thought = choose_reasoning(template, name)
        changes["reasoning_parser"] = thought.name if thought else None
        reason = (
            f"{thought.name}, because {thought.reason}" if thought else "none, as nothing indicates a format"
        )
        lines.append(f"reasoning_parser auto: {reason}")
    return msgspec.structs.replace(config, **changes), lines


def _chat_template(model: ModelConfig, policy: str | None) -> str | None:
    """The text of its templates, where the model's folder is on this machine."""
    if policy is not None:
        from rollway.embedded.policy import find_policy  # brings numpy

        return "\n".join(template_sources(find_policy(policy)).values())
    folder = model.folder or model.name
    if not folder or not Path(folder).is_dir():
        return None
    return "\n".join(template_sources(Path(folder)).values())
