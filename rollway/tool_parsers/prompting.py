"""Tools, calls and results in the words of a format, for templates that have no place for them.

What is written here is what the format's own parser reads: a call that was rendered is that very call again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rollway.tool_parsers.format import ToolParser, Tools
from rollway.trajectory import ToolCall

_HEAD = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

"""

_HERMES = """\
For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""

_OTHERS = """\
Write each function call in exactly this form, with the function's own name, parameters and values:
{example}"""

_SHAPE = ToolCall("functions.FUNCTION_NAME:0", "FUNCTION_NAME", '{"PARAMETER_NAME": "VALUE"}')


def tools_text(parser: ToolParser, tools: Tools) -> str:
    """What a system message says of the tools that may be called, and of how to call them.

    The words for ``hermes`` are those of Qwen's templates, on which most small models were trained.
    """
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    how = _HERMES if parser.name == "hermes" else _OTHERS.format(example=parser.render([_SHAPE]))
    return _HEAD.format(tools=lines) + how


def results_text(parser: ToolParser, results: Sequence[Any]) -> str:
    """What a user message says of a turn's results, in the order of its calls."""
    before, after = parser.format.result_tags
    return "\n".join(f"{before}{result}{after}" for result in results)
