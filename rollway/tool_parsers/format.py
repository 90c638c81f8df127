"""The declaration of a tool-call format: what every file of this folder with a ``FORMAT`` fills in.

A format is data and two functions. ``parse`` never raises, whatever the text, and its work grows linearly
with the text's length; ``render`` is its way back, so that ``parse(render(calls))`` gives the calls again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from rollway.tool_parsers.output import ParsedOutput
from rollway.tool_parsers.stray import stray_call
from rollway.trajectory import ToolCall

Tools = Sequence[Mapping[str, Any]]
"""OpenAI tool definitions, as they stand in the request."""

ParseFunction = Callable[[str, Tools, bool], ParsedOutput]
"""``(text, tools, lenient) -> ParsedOutput``."""


class RenderFunction(Protocol):
    """``render(calls, content)`` writes an assistant turn: the content, then the calls."""

    def __call__(self, calls: Sequence[ToolCall], content: str | None = None) -> str: ...


class ToolFormat(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which models write tool calls."""

    name: str  # as vLLM spells it
    aliases: tuple[str, ...] = ()  # other names for the same format
    models: str  # who writes it, for people
    example: str  # a literal text with at least one call
    parse: ParseFunction
    render: RenderFunction
    cannot_say: str = (
        ""  # what no text of the format can express (`render` raises ValueError); "" for nothing
    )
    result_tags: tuple[str, str] = ("<tool_response>\n", "\n</tool_response>")
    """What stands around a tool's result where results are told in the text of a user message."""
    special_marks: bool = False
    """Its marks are special tokens of its models, which servers leave out of the text unless asked."""


class ToolParser:
    """What `get_parser` gives: a format behind one small surface."""

    __slots__ = ("_parse", "format", "name")

    def __init__(self, format: ToolFormat) -> None:
        self.format = format
        self.name = format.name
        self._parse = format.parse

    def parse(self, text: str, tools: Tools | None = None, *, lenient: bool = False) -> ParsedOutput:
        """Take a model's text apart. Never raises; linear in the text's length.

        A pure function: the same text gives the same calls with the same ids. ``tools`` decides the types
        of values in formats that write them as bare text. ``lenient`` also accepts single quotes, trailing
        commas, Python literals and bare keys where the format is JSON, and lists such calls in ``repaired``.
        """
        parsed = self._parse(text, tools or (), lenient)
        if not parsed.tool_calls and not parsed.errors and tools and ("{" in text or "(" in text):
            stray = stray_call(text, tools, self.format.render)
            if stray is not None:
                return msgspec.structs.replace(parsed, errors=[stray])
        return parsed

    def render(self, calls: Sequence[ToolCall], content: str | None = None) -> str:
        """Write calls as the models of this format do, after ``content`` if there is any.

        Raises:
            ValueError: a call's arguments are no JSON object, or the format cannot say them.
        """
        return self.format.render(calls, content)
