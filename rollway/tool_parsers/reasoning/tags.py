"""Thoughts between an opening and a closing tag: most formats, each a declaration of a few patterns.

A thought is what stands between the tags, to the letter. Only white space before a leading opening tag is
dropped, and the tags themselves.
"""

from __future__ import annotations

import re
from functools import partial

import msgspec

from rollway.tool_parsers.reasoning.format import ReasoningFormat, Split
from rollway.tool_parsers.xml_grammar import any_bars

_NO_CALLS = re.compile(r"(?!)")
"""Matches nowhere."""


class Tags(msgspec.Struct, frozen=True, kw_only=True):
    """The tags of one format, as patterns that match in time linear in the text."""

    opening: re.Pattern[str]
    closing: re.Pattern[str]
    calls: re.Pattern[str] = _NO_CALLS  # what opens a tool call; it ends a thought that was never closed
    every: bool = False  # gather every thought of the text, where others take the first
    infers: bool = True  # a closing tag without an opening one shows that the prompt had opened the thought
    answer: tuple[re.Pattern[str], re.Pattern[str]] | None = None  # tags around the answer, taken off


def tag_format(
    name: str,
    models: str,
    opening: str = "<think>",
    closing: str = "</think>",
    *,
    calls: tuple[str, ...] = (),
    opening_pattern: str | None = None,
    closing_pattern: str | None = None,
    answer: tuple[str, str] | None = None,
    every: bool = False,
    infers: bool = True,
    prefilled: bool = False,
    aliases: tuple[str, ...] = (),
    ending: str = "",
    special_marks: bool = False,
) -> ReasoningFormat:
    """A format of this family. The patterns default to the literal tags; `answer` is a pair of patterns."""
    tags = Tags(
        opening=re.compile(opening_pattern or re.escape(opening)),
        closing=re.compile(closing_pattern or re.escape(closing)),
        calls=re.compile("|".join(any_bars(re.escape(call)) for call in calls)) if calls else _NO_CALLS,
        every=every,
        infers=infers,
        answer=(re.compile(answer[0]), re.compile(answer[1])) if answer else None,
    )
    return ReasoningFormat(
        name=name,
        models=models,
        opening=opening,
        closing=closing,
        ending=ending,
        aliases=aliases,
        prefilled=prefilled,
        special_marks=special_marks,
        split=partial(split_tags, tags, prefilled),
    )


def split_tags(tags: Tags, habit: bool, text: str, prefilled: bool | None) -> Split:
    """(reasoning, content) of a text; `habit` stands in for `prefilled` where that is None."""
    first = _first_thought(tags, text, habit if prefilled is None else prefilled, prefilled is None)
    if first is None:
        return None, _unwrap(tags, text) or None
    before, begin = first
    thoughts: list[str] = []
    kept = [before]
    closed = False
    while True:
        end, resume = _end_of_thought(tags, text, begin)
        thoughts.append(text[begin:end])
        closed = resume is not None
        if resume is None:
            break
        following = _next_thought(tags, text, resume) if tags.every else None
        if following is None:
            kept.append(text[resume:])
            break
        kept.append(text[resume : following.start()])
        begin = following.end()
    content = "".join(kept)
    if not closed and not content:
        return "".join(thoughts), None
    return "".join(thoughts), _unwrap(tags, content)


def _first_thought(tags: Tags, text: str, opened: bool, guess: bool) -> tuple[str, int] | None:
    """(content before it, where it begins) of the first thought, or None when the text has none."""
    leading = tags.opening.match(text, len(text) - len(text.lstrip()))
    if leading:
        return "", leading.end()
    if opened:
        return "", 0
    closing = tags.closing.search(text)
    if closing is None and not tags.every:
        return None
    call = tags.calls.search(text)
    limit = call.start() if call else len(text)
    opening = tags.opening.search(text, 0, limit)
    if (
        guess
        and tags.infers
        and closing
        and closing.start() < min(limit, opening.start() if opening else limit)
    ):
        return "", 0
    if opening is None or (not tags.every and not tags.closing.search(text, opening.end())):
        return None
    return text[: opening.start()], opening.end()


def _end_of_thought(tags: Tags, text: str, begin: int) -> tuple[int, int | None]:
    """(where the thought ends, where the content goes on; None when the text ends first)."""
    closing = tags.closing.search(text, begin)
    if closing:
        return closing.start(), closing.end()
    call = tags.calls.search(text, begin)
    return (call.start(), call.start()) if call else (len(text), None)


def _next_thought(tags: Tags, text: str, position: int) -> re.Match[str] | None:
    """The next opening tag before any tool call: what a call quotes is its own."""
    opening = tags.opening.search(text, position)
    if opening is None:
        return None
    return None if tags.calls.search(text, position, opening.start()) else opening


def _unwrap(tags: Tags, content: str) -> str:
    """The content without the tags that some formats write around the answer."""
    if tags.answer is None:
        return content
    opening, closing = tags.answer
    head = opening.match(content)
    content = content[head.end() :] if head else content
    closings = list(closing.finditer(content))
    return content[: closings[-1].start()] + content[closings[-1].end() :] if closings else content
