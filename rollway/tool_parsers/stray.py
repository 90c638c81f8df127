"""Calls that a format does not read: in another one's tags, or in none, or with their marks taken off.

Nothing here is run. What surely is a call of an offered tool is an error that the model can mend; what only
looks like one is told to whoever runs it, since no model can mend a parser that is not its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rollway.tool_parsers.bare_json import FIRST_KEY
from rollway.tool_parsers.draft import Draft
from rollway.tool_parsers.json_calls import Call, read_plain_call
from rollway.tool_parsers.json_values import Ending, JsonScanner
from rollway.tool_parsers.output import ParseError, ParseErrorKind
from rollway.trajectory import ToolCall

if TYPE_CHECKING:
    from rollway.tool_parsers.format import Tools

_OBJECT = re.compile(rf"(?={FIRST_KEY})")
_OPENING = re.compile(r"(?:<[^<>\s]{1,40}>|\[[A-Z_]{2,40}\]|```\w{0,20})\s{0,9}\[?\s{0,9}\Z")
"""A tag, a mark or a fence that stands directly before an object, maybe with the bracket of a list."""
_CLOSING = re.compile(r"[\s,;\]]*+(?:(?:</[^<>\s]{1,40}>|<[^<>\s]{1,40}>|```)[\s\]]*+)?")
_LONGEST_OPENING = 60
_SCANNER = JsonScanner()

Write = Callable[[Sequence[ToolCall]], str]
"""`ToolFormat.render`."""


def stray_call(text: str, tools: Tools, write: Write) -> ParseError | None:
    """What of ``text`` surely is a call of an offered tool, and none that the format reads.

    For texts in which a format found neither call nor error. ``write`` is the format's own way to write one.
    """
    named = _named_object(text, tools, write) if '"name"' in text else None
    return named or _without_marks(text, tools)


def _named_object(text: str, tools: Tools, write: Write) -> ParseError | None:
    """The first JSON object that is a call of an offered tool and stands between tags of some kind, or at the
    end. One that is quoted in a sentence, or in a thought, is none.
    """
    offered = _names(tools)
    draft = Draft(text)
    position = 0
    while (match := draft.search(_OBJECT, position)) is not None:
        start = match.start()
        scan = _SCANNER.scan(text, start)
        position = max(scan.end, start + 1)
        call = read_plain_call(text[start:position]) if scan.ending is Ending.COMPLETE else None
        if call is None or call.name not in offered or not _has_arguments(text[start:position]):
            continue
        opening = _OPENING.search(text, max(0, start - _LONGEST_OPENING), start)
        closing = _CLOSING.match(text, position)
        end = closing.end() if closing else position
        tagged = opening is not None and text[opening.start()] in "<["
        if tagged or end == len(text):
            begin = opening.start() if opening else start
            return ParseError(
                ParseErrorKind.MALFORMED, text[begin:end], begin, _advice(call, write), call.name, stray=True
            )
    return None


def _without_marks(text: str, tools: Tools) -> ParseError | None:
    """The first call whose marks, special tokens, were taken off: what is left stands as no words do."""
    draft = Draft(text)
    found = draft.search(_residue(tuple(sorted(_names(tools)))), 0)
    if found is None:
        return None
    name = next(group for group in found.groups() if group)
    scan = _SCANNER.scan(text, found.end()) if text.startswith("{", found.end()) else None
    end = scan.end if scan and scan.ending is Ending.COMPLETE else len(text)
    message = (
        f"This looks like a call of {name!r} without the marks of one: it was not made. "
        f"Write the whole call again, marks included."
    )
    raw = text[found.start() : end]
    return ParseError(ParseErrorKind.MALFORMED, raw, found.start(), message, name, stray=True)


def names_a_call(text: str, tools: Tools) -> str:
    """The offered tool that ``text`` names beside what looks like arguments; "" for none. Only a hint."""
    if not text or not any(bracket in text for bracket in "{("):
        return ""
    found = _mention(tuple(sorted(_names(tools)))).search(text)
    return next((name for name in found.groups() if name), "") if found else ""


def offered_name(name: str, tools: Tools) -> str:
    """A tool's name without the special token, and what stands behind it, that a server left in it.

    Other marks are taken off only where what stands before them is an offered tool.
    """
    for mark in ("<", "["):
        head = name.partition(mark)[0].strip()
        special = name[len(head) :].lstrip().startswith(("<|", "<｜"))
        if head != name and head and (special or head in _names(tools)):
            return head
    return name


def _names(tools: Tools) -> set[str]:
    functions = (tool.get("function", tool) for tool in tools)
    return {str(function["name"]) for function in functions if _is_named(function)}


def _is_named(function: Any) -> bool:
    return isinstance(function, dict) and isinstance(function.get("name"), str)


@lru_cache(maxsize=64)
def _residue(names: tuple[str, ...]) -> re.Pattern[str]:
    """What is left of a call of these tools when its special tokens are gone, up to its arguments."""
    name = "|".join(re.escape(name) for name in names if name) or "(?!)"
    return re.compile(
        rf"(?<!\w)({name})(?:\[CALL_ID\]\w{{1,40}})?\[ARGS\]\s{{0,9}}(?=\{{)"  # Mistral
        rf"|(?<!\w)functions\.({name}):\d{{1,9}}\s{{0,9}}(?=\{{)"  # Kimi
        rf"|(?<!\w)to=functions\.({name})(?!\w)[^{{}}\n]{{0,30}}+(?=\{{)"  # harmony
        rf"|\A\s*+(?:function|call:)?({name})\s{{0,9}}(?:```json\s{{0,9}})?(?=\{{)"  # DeepSeek, Gemma
        rf"|\A\s*+\[?({name})\(\s{{0,9}}\w{{1,40}}\s?=[^\n]*+(?<=[)\]])\s*+\Z"  # Python
        rf"|\A\s*+\[\s{{0,9}}\{{\s{{0,9}}\"({name})\"\s{{0,9}}:\s{{0,9}}(?=\{{)"  # Apertus
        rf"|\A\s*+\[\s{{0,9}}\{{\s{{0,9}}\"tool_call_id\"[^{{}}]{{0,80}}"  # Cohere
        rf"\"tool_name\"\s{{0,9}}:\s{{0,9}}\"({name})\""
    )


@lru_cache(maxsize=64)
def _mention(names: tuple[str, ...]) -> re.Pattern[str]:
    any_name = "|".join(re.escape(name) for name in names if name) or "(?!)"
    beside = r"[^{}\n]{0,40}+(?:\n```\w*)?\s{0,9}\{\s{0,9}(?:[\"'<]|\w{1,40}\s?:)"
    return re.compile(
        rf"(?<!\w)({any_name})(?!\w)(?:{beside}|\(\s{{0,9}}\w{{1,40}}\s?=)"
        rf"|\"(?:name|tool_name|tool|function)\"\s{{0,9}}:\s{{0,9}}\"({any_name})\""
    )


def _has_arguments(source: str) -> bool:
    return '"arguments"' in source or '"parameters"' in source


def _advice(call: Call, write: Write) -> str:
    try:
        shape = write([ToolCall("", call.name, call.arguments)])
    except ValueError:
        shape = ""
    how = f" Write it so: {shape}" if shape else ""
    return f"This looks like a call of {call.name!r}, but not in the format of calls: it was not made.{how}"
