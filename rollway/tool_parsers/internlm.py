"""The format of InternLM 2.5 and 3: an action for the plugin, the arguments under ``parameters``."""

from __future__ import annotations

from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.rendering import each_call
from rollway.tool_parsers.tagged_json import TaggedJson

FORMAT = ToolFormat(
    name="internlm",
    models="InternLM 2.5 and 3",
    example=(
        '<|action_start|><|plugin|>\n{"name": "get_weather", "parameters": {"city": "Oslo"}}<|action_end|>'
    ),
    special_marks=True,
    parse=TaggedJson("<|action_start|><|plugin|>", closing="<|action_end|>").parse,
    render=each_call("<|action_start|><|plugin|>\n", "<|action_end|>", arguments_key="parameters"),
)
