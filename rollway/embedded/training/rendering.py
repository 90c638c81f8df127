"""Conversations as text, by the policy's own chat template, in the environment that model servers use.

The jinja settings are those of transformers, which vLLM uses too: blocks trimmed, and a ``tojson`` that
neither sorts keys nor escapes what is no markup.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rollway.trajectory import Message


def load_template(path: Path) -> Template:
    """Compile a ``chat_template.jinja``."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _to_json
    return environment.from_string(path.read_text(encoding="utf-8"))


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def render(
    template: Template,
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]],
    *,
    add_generation_prompt: bool = False,
) -> str:
    """The text that the model reads."""
    return template.render(
        messages=list(messages), tools=list(tools), add_generation_prompt=add_generation_prompt
    )
