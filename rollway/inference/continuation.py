"""What follows a sampled reply in the next prompt: only the ids of what is new.

The invariant: the ids that were sampled are never rendered or tokenised again. What stands after them is
found as the difference between two renderings of a short synthetic history, so the work does not grow with
the conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from rollway.inference.chat_template import ChatTemplate, TemplateFailure
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.trajectory import Message

_MARK = "ROLLWAY-REPLY-ENDS-HERE"
"""Stands for the reply's text in a synthetic history. No template writes it, and no filter changes it."""

_LONGEST_TOKEN = 40  # characters of a special token that two others may share at their beginning

_ASKED: Message = {"role": "user", "content": "?"}


class NotExtendable(Exception):
    """What the template writes after a reply cannot be told: it refuses the messages, or rewrites them."""


class StopFate(StrEnum):
    """What becomes of the token at which the reply stopped, when more messages follow."""

    NONE = "none"  # the reply was cut off: the end that the template writes was not sampled
    ENDS = "ends"  # the template ends the reply with it: it stands once, as sampled
    STANDS_IN = "stands_in"  # it stands as sampled, where the template writes another end
    OPENS_NEXT = "opens_next"  # it opens the message that follows: it stands once, as sampled
    DROPPED = "dropped"  # it opens some other message than the one that follows, and is taken off
    KEPT = "kept"  # the template writes no end there and the token opens nothing: it stands as sampled


class Continuation(msgspec.Struct, frozen=True):
    """What stands between a sampled reply and the next one."""

    token_ids: list[int]  # the rest of the reply's end, the new messages, the opening of the next reply
    text: str  # of token_ids
    stop: StopFate


def continue_prompt(
    template: ChatTemplate,
    tokenizer: FolderTokenizer,
    *,
    stop: int | None,
    reply: Message,
    new: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Continuation:
    """The ids to put after those of ``reply``, when the messages ``new`` follow it.

    Args:
        stop: the reply's last id, if it is one that ends replies; None for a reply that was cut off.
        variables: for the template.

    Raises:
        NotExtendable: the template refuses these messages, or writes the reply anew because of them.
    """
    writer = _Writer(template, tools, variables or {})
    spelled = (tokenizer.text_of(stop) or None) if stop is not None else None
    tail, longer = _tails(writer, reply, new)
    end, following = split_at_end(tail, longer, tokenizer)
    if reply.get("tool_calls"):
        end = _end_after_calls(writer, end, spelled)
    fate, text = _place_stop(spelled, end, following, tokenizer)
    if fate is StopFate.KEPT and spelled is not None and not end.strip() and _opens_some(writer, spelled):
        fate = StopFate.DROPPED
    before = stop if fate not in (StopFate.NONE, StopFate.DROPPED) else None
    return Continuation(tokenizer.encode_after(text, before), text, fate)


def _tails(writer: _Writer, reply: Message, new: Sequence[Message]) -> tuple[str, str]:
    """What stands behind the reply's text when it is the last message, and when ``new`` follows."""
    shapes = [_synthetic(reply)]
    if len(reply.get("tool_calls") or ()) > 1:  # some templates take one call only, whatever the model wrote
        shapes.append(_synthetic({**reply, "tool_calls": reply["tool_calls"][:1]}))
    for shape in shapes:
        try:
            return (
                writer.tail([_ASKED, shape], generate=False),
                writer.tail([_ASKED, shape, *new], generate=True),
            )
        except NotExtendable as error:
            refused = error
    raise refused


def split_at_end(tail: str, longer: str, tokenizer: FolderTokenizer) -> tuple[str, str]:
    """The end of a reply that is not the last message, and what follows it.

    Args:
        tail: what stands after the reply's text when it is the last message.
        longer: when it is not.

    Raises:
        NotExtendable: the two differ in more than the end token (gpt-oss ends the last reply with another).
    """
    if longer.startswith(tail):
        return tail, longer[len(tail) :]
    shared = common_length(tail, longer)
    for at in range(shared, max(-1, shared - _LONGEST_TOKEN), -1):
        last, earlier = (_leading_special(text[at:], tokenizer) for text in (tail, longer))
        if last and earlier and not tail[at + len(last) :].strip():
            return longer[: at + len(earlier)], longer[at + len(earlier) :]
    raise NotExtendable("the chat template rewrites a reply when these messages follow it")


def common_length(left: str, right: str) -> int:
    """How many leading characters are equal."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(left), len(right)))


def _place_stop(
    stop: str | None, end: str, following: str, tokenizer: FolderTokenizer
) -> tuple[StopFate, str]:
    """What becomes of the stop token, and the text after it.

    Args:
        stop: as it is spelled.
        end: what the template writes between the reply's text and the next message.
        following: what it writes from there on.
    """
    if stop is None:
        return StopFate.NONE, end + following
    _, found, rest = end.partition(stop)
    if found:
        return StopFate.ENDS, rest + following
    if not end.strip() and following.startswith(stop):
        return StopFate.OPENS_NEXT, following[len(stop) :]
    other = _leading_special(end.lstrip(), tokenizer)
    if other:
        return StopFate.STANDS_IN, end.lstrip()[len(other) :] + following
    return StopFate.KEPT, end + following


def _opens_some(writer: _Writer, stop: str) -> bool:
    """Whether the template opens a message of a user or of a tool with this token."""
    call = {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
    result: Message = {"role": "tool", "tool_call_id": "call00000", "name": "f", "content": "?"}
    for reply, next_message in (({"role": "assistant", "content": ""}, _ASKED), (called, result)):
        history = [_ASKED, _synthetic(reply)]
        try:
            tail = writer.tail(history, generate=False)
            longer = writer.tail([*history, next_message], generate=False)
        except NotExtendable:
            continue  # it writes no such messages
        if longer.removeprefix(tail).lstrip().startswith(stop):
            return True
    return False


def _leading_special(text: str, tokenizer: FolderTokenizer) -> str:
    """The special token that ``text`` begins with, as it is spelled; "" when it begins with none."""
    ids = tokenizer.encode(text)
    if not ids or ids[0] not in tokenizer.special_ids:
        return ""
    spelled = tokenizer.text_of(ids[0])
    return spelled if text.startswith(spelled) else ""


class _Writer:
    """Short conversations as the template writes them, from the mark on."""

    def __init__(
        self,
        template: ChatTemplate,
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> None:
        self._template = template
        self._tools = tools
        self._variables = variables

    def tail(self, messages: Sequence[Message], *, generate: bool) -> str:
        """What stands after the (last) mark in the rendering."""
        try:
            text = self._template.render(
                messages, self._tools, add_generation_prompt=generate, **self._variables
            )
        except TemplateFailure as error:
            raise NotExtendable(f"the chat template refuses the conversation: {error}") from None
        _, found, tail = text.rpartition(_MARK)
        if not found:
            raise NotExtendable("the chat template drops a reply's text or its calls")
        return tail


def _end_after_calls(writer: _Writer, tail: str, stop: str | None) -> str:
    """What the template writes after the marks that close a call, which the model wrote itself."""
    plain = writer.tail([_ASKED, {"role": "assistant", "content": _MARK}], generate=False)
    for ending in (stop, plain):
        if ending and ending in tail:
            return tail[tail.rindex(ending) :]
    return plain


def _synthetic(reply: Message) -> Message:
    """A reply of the same shape: its calls by id and name, which templates of tool results look up."""
    message: Message = {"role": "assistant", "content": _MARK}
    if reply.get("tool_calls"):
        message["tool_calls"] = [
            {**call, "function": {"name": call["function"]["name"], "arguments": {"mark": _MARK}}}
            for call in reply["tool_calls"]
        ]
    return message
