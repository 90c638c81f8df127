"""What a rollout begins with, looked at before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

from rollway.absent_keys import present_message
from rollway.errors import UserError, in_short
from rollway.plain_values import plain
from rollway.trajectory import Message


def readied_prompt(messages: Sequence[Message]) -> list[Message]:
    """Copies of the messages in plain values, without keys that are there only because a table has a column
    for them.

    Raises:
        UserError: something in them cannot be sent; or a tool call in them is not answered, which every
            server refuses.
    """
    said, lost = plain(messages, "messages")
    if lost:
        raise UserError(f"the prompt holds what cannot be sent: {lost[0]}")
    readied = [_readied(message) for message in said]
    refuse_unanswered(readied)
    return readied


def _readied(message: Message) -> Message:
    message = dict(present_message(message))
    if "content" in message and message["content"] is None:
        message["content"] = ""  # some templates write "None", some servers refuse it
    return message


def refuse_unanswered(messages: Sequence[Message]) -> None:
    """
    Raises:
        UserError: a tool call has no tool message before the next other one.
    """
    waiting: dict[str, str] = {}  # id to name
    at = 0
    for place, message in enumerate([*messages, Message(role="end")]):
        if message.get("role") == "tool":
            waiting.pop(str(message.get("tool_call_id") or next(iter(waiting), "")), None)
            continue
        if waiting:
            call_id, name = next(iter(waiting.items()))
            raise UserError(
                f"message {at} of the prompt calls {name or 'a tool'} with id {in_short(call_id)}, and no "
                f"tool message answers it: put one with that tool_call_id behind it, or leave the call out"
            )
        at = place
        waiting = _calls_of(message)


def _calls_of(message: Message) -> dict[str, str]:
    calls = message.get("tool_calls")
    if message.get("role") != "assistant" or not isinstance(calls, list):
        return {}
    named = {}
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        named[str(call.get("id") if isinstance(call, dict) else call)] = str(name or "")
    return named
