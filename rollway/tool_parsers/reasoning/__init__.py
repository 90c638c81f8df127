"""Reasoning formats: how a model writes its thought before its answer."""

from rollway.tool_parsers.reasoning.format import ReasoningFormat
from rollway.tool_parsers.reasoning.registry import (
    get_reasoning_format,
    list_reasoning_formats,
    opened_by_prompt,
    split_reasoning,
)

__all__ = [
    "ReasoningFormat",
    "get_reasoning_format",
    "list_reasoning_formats",
    "opened_by_prompt",
    "split_reasoning",
]
