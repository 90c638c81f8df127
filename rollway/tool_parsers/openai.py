"""The format of gpt-oss: harmony messages, read from text with its special tokens kept.

A message to a function is a call; the analysis channel is a thought and no content, as for the servers;
everything else that is said to the user is content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.format import ToolFormat, Tools
from rollway.tool_parsers.json_blocks import BlockReader, JsonTags, read_named
from rollway.tool_parsers.json_calls import UNCLOSED
from rollway.tool_parsers.json_values import skip_space
from rollway.tool_parsers.named_json import named
from rollway.tool_parsers.output import ParsedOutput
from rollway.tool_parsers.rendering import argument_json, plain_name
from rollway.trajectory import ToolCall

_MESSAGE = "<|message|>"
_OPENINGS = ("<|start|>", "<|channel|>")
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_TAGS = JsonTags(_OPENINGS, _ENDS)
_HEADER_START = re.compile(r"<\|(?:start|channel)\|>")
_BARE_HEADER = re.compile(r"\s*+(?:assistant\b\s*+)?(?:to=|<\|(?:start|channel)\|>)")
_RECIPIENT = re.compile(r"\bto=(?P<name>[^\s<]++)")
_CHANNEL = re.compile(r"<\|channel\|>\s*+(?P<channel>\w++)")
_LAST_END = re.compile(r"<\|(?:end|call|return)\|>\s*+\Z")
_NOT_IN_NAMES = "< \t\f\v"
_BODY_END = re.compile(r"<\|(?:end|call|return)\|>|(?=<\|(?:start|channel)\|>)")


def _parse(text: str, tools: Tools, lenient: bool) -> ParsedOutput:
    draft = Draft(text, None)
    reader = BlockReader(_TAGS, draft, read_named, lenient)
    position = 0
    while (mark := text.find(_MESSAGE, position)) >= 0:
        start = _header_start(text, position, mark)
        header = text[start:mark]
        body = mark + len(_MESSAGE)
        recipient = _RECIPIENT.search(header)
        channel = _CHANNEL.search(header)
        if recipient is not None:
            item = named(recipient["name"].removeprefix("functions."), "")
            position = reader.read_one(start, skip_space(text, body), item)
            continue
        end = _BODY_END.search(text, body)
        close, position = end.span() if end else (len(text), len(text))
        if channel is not None and channel["channel"] == "analysis":
            draft.drop(start, position)
        else:
            draft.drop(start, body)
            draft.drop(close, position)
    _read_rest(draft, position)
    return draft.finish(position)


def _header_start(text: str, position: int, mark: int) -> int:
    """Where the header before ``mark`` begins; what stands before it is the model's words."""
    if _BARE_HEADER.match(text, position, mark):
        return position
    tag = _HEADER_START.search(text, position, mark)
    return tag.start() if tag else mark


def _read_rest(draft: Draft, position: int) -> None:
    """What stands behind the last whole message: words, or a header that was cut off."""
    text = draft.text
    if not _BARE_HEADER.match(text, position):
        if end := _LAST_END.search(text, position):
            draft.drop(*end.span())
    elif _RECIPIENT.search(text, position):
        draft.reject(position, len(text), UNCLOSED.kind, UNCLOSED.message)
    elif position or text.startswith("<|"):
        draft.drop(position, len(text))


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    if not calls:
        return f"<|channel|>final<|message|>{content or ''}<|return|>"
    messages = [f"<|channel|>commentary<|message|>{content}<|end|>"] if content else []
    for index, call in enumerate(calls):
        end = "<|call|>" if index == len(calls) - 1 else "<|end|>"
        head = f"<|channel|>commentary to=functions.{plain_name(call, _NOT_IN_NAMES)} <|constrain|>json"
        messages.append(f"{head}{_MESSAGE}{argument_json(call)}{end}")
    return "<|start|>assistant".join(messages)


FORMAT = ToolFormat(
    name="openai",
    models="gpt-oss",
    example=(
        "<|channel|>analysis<|message|>The user wants the weather.<|end|><|start|>assistant<|channel|>"
        'commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>'
    ),
    special_marks=True,
    parse=_parse,
    render=_render,
    cannot_say="A name with white space or '<'.",
)
