"""Tool calls and reasoning out of a model's text, for the formats that open models write."""

from rollway.tool_parsers.detect import Choice, choose_format, choose_reasoning
from rollway.tool_parsers.format import ToolFormat, ToolParser
from rollway.tool_parsers.output import ParsedOutput, ParseError, ParseErrorKind
from rollway.tool_parsers.reasoning import (
    ReasoningFormat,
    get_reasoning_format,
    list_reasoning_formats,
    opened_by_prompt,
    split_reasoning,
)
from rollway.tool_parsers.registry import get_parser, list_formats, list_parsers

__all__ = [
    "Choice",
    "ParseError",
    "ParseErrorKind",
    "ParsedOutput",
    "ReasoningFormat",
    "ToolFormat",
    "ToolParser",
    "choose_format",
    "choose_reasoning",
    "get_parser",
    "get_reasoning_format",
    "list_formats",
    "list_parsers",
    "list_reasoning_formats",
    "opened_by_prompt",
    "split_reasoning",
]
