"""From a server's reply to what the loop acts on: the thought, the text, the calls, what could not be read.

What the model wrote is kept to the letter. Calls come from the server where it parsed them, and from the
project's own parsers where it did not; never from inside a thought.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rollway.inference.protocol import Completion
from rollway.tool_parsers import ParseError, ToolParser, opened_by_prompt, split_reasoning
from rollway.tool_parsers.call_ids import renamed
from rollway.trajectory import ENGINE_NAME, Message, ToolCall


class Reply(msgspec.Struct, frozen=True):
    """A completion, taken apart."""

    reasoning: str | None
    content: str | None
    calls: list[ToolCall]  # ids unique within the rollout
    errors: list[ParseError]  # blocks that look like calls and could not be read
    parsed_by: str  # "server" or the parser's name


def read_reply(
    completion: Completion,
    *,
    parser: ToolParser | None,
    reasoning_format: str | None,
    tools: Sequence[dict[str, Any]],
    used_ids: set[str],
    turn: int,
) -> Reply:
    """Take a completion apart. ``used_ids`` grows by the ids of its calls."""
    reasoning, content = completion.reasoning, completion.content
    if reasoning is None and content and reasoning_format is not None:
        end = completion.prompt_end
        opened = opened_by_prompt(end, reasoning_format) if end else None
        reasoning, content = split_reasoning(content, reasoning_format, opened)
    found: list[ToolCall] = []
    errors: list[ParseError] = []
    if parser is not None and content:
        parsed = parser.parse(content, list(tools))
        found, errors = parsed.tool_calls, parsed.errors
        # What could not be read is text like any other: without calls to take out, it stays to the letter.
        content = parsed.content if found else content
    # A server that parsed some calls may have left others in the text, good or bad: none is lost.
    calls = _unique([*completion.tool_calls, *found], used_ids, turn)
    parsed_by = "server"
    if parser is not None and (found or errors) and not completion.tool_calls:
        parsed_by = parser.name
    return Reply(reasoning, content, calls, errors, parsed_by)


def _unique(calls: Sequence[ToolCall], used: set[str], turn: int) -> list[ToolCall]:
    """The calls with ids that no other call of the rollout has; the model's own where they are free."""
    unique = []
    for position, call in enumerate(calls):
        identity = call.id or f"call_{turn}_{position}"
        if identity in used:
            identity = renamed(identity, used)
        used.add(identity)
        unique.append(call if identity == call.id else ToolCall(identity, call.name, call.arguments))
    return unique


def history_message(reply: Reply) -> Message:
    """The reply as the model is shown it again."""
    message: Message = {"role": "assistant", "content": reply.content or ""}
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.calls
        ]
    return message


def repair_request(errors: Sequence[ParseError]) -> Message:
    """Tell the model which of its calls could not be read. Carries the engine's name."""
    count = "a tool call" if len(errors) == 1 else f"{len(errors)} tool calls"
    lines = [f"Your reply held {count} that could not be read and did not run:"]
    lines += [f"- {error.message}" for error in errors]
    lines.append("Write the call again, whole and in the right format, or answer without it.")
    return {"role": "user", "name": ENGINE_NAME, "content": "\n".join(lines)}
