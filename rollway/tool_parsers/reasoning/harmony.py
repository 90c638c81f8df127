"""Thoughts of gpt-oss: messages on harmony's `analysis` channel.

Messages of one text are read in order. Calls stay as they are written, tags included, for the parser of tool
calls to read.
"""

from __future__ import annotations

import re

import msgspec

from rollway.tool_parsers.reasoning.format import ReasoningFormat, Split

_MESSAGE = "<|message|>"
_END = re.compile(r"<\|(?:end|return|call)\|>|(?=<\|start\|>)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=")


class _Message(msgspec.Struct, frozen=True):
    raw: str  # the whole message as written, header and end token included
    body: str
    thought: bool
    call: bool


def split_harmony(text: str, prefilled: bool | None) -> Split:
    """(reasoning, content). Several thoughts, and several answers, are joined with one newline each."""
    messages = _read(text, bool(prefilled))
    thoughts = [message.body for message in messages if message.thought]
    others = [message for message in messages if not message.thought]
    reasoning = "\n".join(thoughts) if thoughts else None
    if not others:
        return reasoning, None
    if any(message.call for message in others):
        return reasoning, "".join(message.raw for message in others)
    content = "\n".join(message.body for message in others)
    return reasoning, content if thoughts else content or None


def _read(text: str, opened: bool) -> list[_Message]:
    messages: list[_Message] = []
    position = 0
    if opened and not text.lstrip().startswith("<|channel|>"):
        body, position = _body(text, 0)
        messages.append(_Message(raw=text[:position], body=body, thought=True, call=False))
    while position < len(text):
        at = text.find(_MESSAGE, position)
        if at < 0:
            rest = text[position:]
            if rest.strip():
                messages.append(_Message(raw=rest, body=rest, thought=False, call=False))
            break
        header = text[position:at]
        body, end = _body(text, at + len(_MESSAGE))
        channel = _CHANNEL.search(header)
        call = _RECIPIENT.search(header) is not None
        thought = channel is not None and channel.group(1) == "analysis" and not call
        messages.append(_Message(raw=text[position:end], body=body, thought=thought, call=call))
        position = end
    return messages


def _body(text: str, begin: int) -> tuple[str, int]:
    """(the message's text, where the next message begins)."""
    end = _END.search(text, begin)
    return (text[begin : end.start()], end.end()) if end else (text[begin:], len(text))


FORMAT = ReasoningFormat(
    name="openai_gptoss",
    aliases=("gpt_oss", "gpt-oss", "harmony", "openai"),
    models="gpt-oss",
    opening="<|channel|>analysis<|message|>",
    closing="<|end|><|start|>assistant<|channel|>final<|message|>",
    ending="<|return|>",
    special_marks=True,
    split=split_harmony,
)
