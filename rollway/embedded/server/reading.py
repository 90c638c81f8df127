"""Taking a reply apart on the server: thought, content and tool calls, at once or while it grows.

Read in pieces, a reply gives the same thought, content and calls as read at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rollway.tool_parsers import ToolParser, split_reasoning


class FunctionCall(msgspec.Struct):
    """What is called."""

    name: str
    arguments: str


class Call(msgspec.Struct):
    """A tool call of a reply."""

    id: str
    function: FunctionCall
    type: str = "function"


class Parts(msgspec.Struct):
    """A reply taken apart; None where there is no such part."""

    reasoning: str | None
    content: str | None
    tool_calls: list[Call]


class ReplyReader:
    """How the replies to one request are read.

    Args:
        tool_parser: None leaves calls in the content.
        reasoning_format: None leaves thoughts in the content.
        opened: whether the prompt had opened the thought.
        parallel: False keeps the first call only.
    """

    def __init__(
        self,
        *,
        tools: Sequence[Mapping[str, Any]],
        tool_parser: ToolParser | None,
        reasoning_format: str | None,
        opened: bool,
        parallel: bool,
    ) -> None:
        self._tools = tools
        self._tool_parser = tool_parser
        self._reasoning_format = reasoning_format
        self._opened = opened
        self._parallel = parallel

    @property
    def plain(self) -> bool:
        """Whether a reply is its content, to the letter."""
        return self._tool_parser is None and self._reasoning_format is None

    def read(self, text: str) -> Parts:
        """Take a whole reply apart."""
        reasoning: str | None = None
        content: str | None = text
        if self._reasoning_format is not None:
            reasoning, content = split_reasoning(text, self._reasoning_format, self._opened)
        if self._tool_parser is None or content is None:
            return Parts(reasoning, content, [])
        parsed = self._tool_parser.parse(content, self._tools)
        found = parsed.tool_calls if self._parallel else parsed.tool_calls[:1]
        calls = [
            Call(f"chatcmpl-tool-{uuid.uuid4().hex}", FunctionCall(call.name, call.arguments))
            for call in found
        ]
        return Parts(reasoning, parsed.content if calls else content, calls)

    def settled(self, text: str) -> int:
        """How many characters of a reply that still grows are content for certain."""
        if self.plain:
            return len(text)
        if self._opened or not text or text[0].isspace():
            return 0
        tag = text.find("<")
        return len((text if tag < 0 else text[:tag]).rstrip())


class GrowingReply:
    """A reply that is read while it is streamed."""

    def __init__(self, reader: ReplyReader) -> None:
        self._reader = reader
        self._text = ""
        self._given = 0  # characters of the content

    def add(self, text: str) -> str:
        """More text. Returns more content, as far as it is certain."""
        self._text += text
        piece = self._text[self._given : self._reader.settled(self._text)]
        self._given += len(piece)
        return piece

    def finish(self) -> Parts:
        """Everything that `add` did not give out."""
        parts = self._reader.read(self._text)
        rest = (parts.content or "")[self._given :]
        return Parts(parts.reasoning, rest or None, parts.tool_calls)
