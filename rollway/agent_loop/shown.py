"""The recorded conversation as the model's server is shown it.

The record says who wrote what, in OpenAI's format; a request says it as this server and its template take it.
The number of messages up to a reply may differ, the reply stays the last of them: nothing that stands behind
a reply is ever moved before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

from rollway.inference.server_fields import with_server_fields
from rollway.trajectory import ENGINE_NAME, THOUGHT_FIELDS, Message, Turn

InsertAs = Literal["user", "tool_suffix", "auto"]
"""Where the engine's own words stand behind tool results: in a user message, or as a paragraph under the last
result. ``auto``: the paragraph where the template refuses a user message there."""

TOOL_SUFFIX = "tool_suffix"
PLACE = "insert_as"
"""The key of a recorded message of the engine's that says where it stands. Never sent."""

NOT_THE_TOOLS = "[Not from the tool. A note of the program that runs this conversation:]"
"""The line that tells the engine's paragraph from the tool's own words."""


def shown_messages(
    messages: Sequence[Message], turns: Mapping[int, Turn], *, server: str, fold: bool = True
) -> list[Message]:
    """What a request holds for ``messages``. ``turns`` are those of its replies, by the place of the message.

    What ``server`` added to replies of its own stands in them again; the engine's words stand where they were
    placed (``fold``), without the name that the record gives them.
    """
    own = {
        place: turn.server_fields
        for place, turn in turns.items()
        if turn.server_fields is not None and turn.server == server
    }
    shown: list[Message] = []
    for place, message in enumerate(messages):
        if message.get("name") == ENGINE_NAME and message.get("role") == "user":
            if fold and message.get(PLACE) == TOOL_SUFFIX and shown and shown[-1].get("role") == "tool":
                shown[-1] = _with_paragraph(shown[-1], str(message["content"]))
            else:
                shown.append({name: value for name, value in message.items() if name not in ("name", PLACE)})
        else:
            shown.append(with_server_fields(message, own[place]) if place in own else message)
    return shown


def with_empty_thoughts(messages: Sequence[Message]) -> list[Message]:
    """The messages, each reply without a thought with an empty one."""
    return [
        {**message, "reasoning_content": ""}
        if message.get("role") == "assistant" and not any(name in message for name in THOUGHT_FIELDS)
        else message
        for message in messages
    ]


def may_be_refused(messages: Sequence[Message]) -> list[Message]:
    """The engine's messages that stand as a user's behind tool results."""
    return [
        message
        for before, message in pairwise(messages)
        if before.get("role") == "tool"
        and message.get("name") == ENGINE_NAME
        and message.get("role") == "user"
        and PLACE not in message
    ]


def turns_at(messages: Sequence[Message], turns: Sequence[Turn], covered: int) -> dict[int, Turn]:
    """The turns by the places of their messages: the last replies of the first ``covered`` ones."""
    covering = messages[:covered]
    replies = [place for place, message in enumerate(covering) if message.get("role") == "assistant"]
    return dict(zip(replies[len(replies) - len(turns) :], turns, strict=False))


def _with_paragraph(result: Message, text: str) -> Message:
    content = result.get("content")
    paragraph = f"{NOT_THE_TOOLS}\n{text}"
    if isinstance(content, list):
        return {**result, "content": [*content, {"type": "text", "text": paragraph}]}
    return {**result, "content": f"{content}\n\n{paragraph}" if content else paragraph}
