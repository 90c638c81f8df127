"""What a parser of model text gives back."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rollway.trajectory import ToolCall


class ParseErrorKind(StrEnum):
    """What is wrong with a block that looks like a call."""

    INVALID_JSON = "invalid_json"
    UNCLOSED = "unclosed"
    MISSING_NAME = "missing_name"
    INVALID_ARGUMENTS = "invalid_arguments"
    MALFORMED = "malformed"


class ParseError(msgspec.Struct, frozen=True):
    """A block that was not executed. It stays in the content, to the letter."""

    kind: ParseErrorKind
    raw: str  # the block as written, tags included
    position: int  # its first character in the text
    message: str  # words that help the model to mend it
    name: str = ""  # the tool's name where it could be read
    stray: bool = False  # surely a call, and no block of the format's: in other tags, or without its marks


class ParsedOutput(msgspec.Struct, frozen=True):
    """A model's text, taken apart."""

    content: str | None  # all text outside calls; None when there is none
    tool_calls: list[ToolCall]
    errors: list[ParseError]
    repaired: list[int] = []  # indices of calls that only `lenient=True` accepted
