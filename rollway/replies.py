"""From a server's reply to what the loop acts on: the thought, the text, the calls, what could not be read.

What the model wrote is kept to the letter. Calls come from the server where it parsed them, and from the
project's own parsers where it did not; never from inside a thought that ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rollway.errors import in_short
from rollway.inference.protocol import Completion
from rollway.inference.server_fields import without_thought
from rollway.tool_parsers import (
    ParsedOutput,
    ParseError,
    ToolParser,
    get_parser,
    opened_by_prompt,
    split_reasoning,
)
from rollway.tool_parsers.call_ids import renamed
from rollway.tool_parsers.detect import choose_by_marks
from rollway.tool_parsers.special_tokens import without_turn_end
from rollway.tool_parsers.stray import offered_name
from rollway.trajectory import ENGINE_NAME, Message, ServerFields, ToolCall


class Reply(msgspec.Struct, frozen=True):
    """A completion, taken apart."""

    reasoning: str | None
    content: str | None
    calls: list[ToolCall]  # ids unique within the rollout
    errors: list[ParseError]  # blocks that look like calls and could not be read
    parsed_by: str  # "server" or the parser's name
    server_fields: ServerFields | None = None  # what goes back with it to the server that sent it
    text: str | None = None  # the content before calls were read from it


def read_reply(
    completion: Completion,
    *,
    parser: ToolParser | None,
    reasoning_format: str | None,
    tools: Sequence[dict[str, Any]],
    used_ids: set[str],
    turn: int,
    special_tokens: bool = False,
) -> Reply:
    """Take a completion apart. ``used_ids`` grows by the ids of its calls; ``special_tokens`` says that the
    text was asked for with them, so that the one that ends the turn may stand there."""
    reasoning, content = completion.reasoning, completion.content
    own = completion.server_fields
    if special_tokens and content:
        content = without_turn_end(content) or None
    if reasoning is None and content and reasoning_format is not None:
        end = completion.prompt_end
        opened = opened_by_prompt(end, reasoning_format) if end else None
        reasoning, content = split_reasoning(content, reasoning_format, opened)
    found: list[ToolCall] = []
    errors: list[ParseError] = []
    reader, text = parser, content
    if parser is not None and content and not content.isspace():
        parsed = parser.parse(content, list(tools))
        found, errors = parsed.tool_calls, parsed.errors
        # What could not be read is text like any other: without calls to take out, it stays to the letter.
        content = parsed.content if found else content
    elif parser is not None and reasoning and not completion.tool_calls:
        reader, parsed = _left_in_thought(reasoning, parser, tools)
        found, errors = parsed.tool_calls, parsed.errors
        if found:
            reasoning, own = parsed.content, own and without_thought(own)
    # A server that parsed some calls may have left others in the text, good or bad: none is lost.
    calls = [_with_offered_name(call, tools) for call in (*completion.tool_calls, *found)]
    calls = _unique(calls, used_ids, turn)
    parsed_by = "server"
    if reader is not None and (found or errors) and not completion.tool_calls:
        parsed_by = reader.name
    return Reply(reasoning, content, calls, errors, parsed_by, own, text)


def _left_in_thought(
    thought: str, parser: ToolParser, tools: Sequence[dict[str, Any]]
) -> tuple[ToolParser, ParsedOutput]:
    """The calls in a thought behind which nothing follows: it was never closed, so a call ends it.

    A server whose reasoning parser took them has a format of its own, which the marks in the text tell.
    """
    parsed = parser.parse(thought, list(tools))
    marked = None if parsed.tool_calls else choose_by_marks(thought)
    if marked is not None and marked.name != parser.name:
        other = get_parser(marked.name)
        found = other.parse(thought, list(tools))
        if found.tool_calls or (found.errors and not parsed.errors):
            return other, found
    return parser, parsed


def _with_offered_name(call: ToolCall, tools: Sequence[dict[str, Any]]) -> ToolCall:
    name = offered_name(call.name, tools)
    return call if name == call.name else ToolCall(call.id, name, call.arguments)


def ids_in(messages: Sequence[Message]) -> set[str]:
    """The ids of all calls in a conversation."""
    calls = (call for message in messages for call in message.get("tool_calls") or ())
    return {str(call["id"]) for call in calls if isinstance(call, dict) and call.get("id")}


def lost_call(tool: str, text: str, parser: ToolParser | None) -> str:
    """What is probably wrong where a reply speaks of a call and yields neither one nor an error."""
    shown = in_short(text.strip())
    said = (
        f"a reply names the tool {tool!r} beside what look like its arguments, and no call was read: {shown}"
    )
    marked = choose_by_marks(text)
    if parser is None:
        return f"{said}; tool_parser is null, so calls in the text are not looked for (said once)"
    if marked is not None and marked.name != parser.name:
        why = f"its marks are those of {marked.name}: set tool_parser to it"
    elif parser.format.special_marks:
        why = (
            f"the marks of {parser.name} are special tokens, which the server seems to leave out of the text "
            f"although it is asked to keep them: start it with a tool-call parser of its own (llama.cpp: "
            f"--jinja or --special), or set model.backend to token"
        )
    else:
        why = (
            f"tool_parser {parser.name} is hardly the model's format (`rollway parse --list` shows all), "
            f"or the server's own tool-call parser is not"
        )
    return f"{said}; {why} (said once)"


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
