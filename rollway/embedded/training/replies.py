"""What follows on the text of a turn, in the words of the engine itself.

Calls are read, run and answered by the functions that the agent loop uses, so that the policy learns from
the very messages that it will meet.
"""

from __future__ import annotations

from rollway.inference.protocol import Completion
from rollway.replies import history_message, read_reply, repair_request
from rollway.tool_parsers import get_parser
from rollway.tools import InvalidArguments, ToolRegistry
from rollway.tools.faults import bad_arguments, unknown_tool
from rollway.trajectory import Message, ToolCall


def follow(text: str, registry: ToolRegistry) -> list[Message]:
    """The turn as a message, then a tool message for each call, then a request to repair what is no call."""
    reply = read_reply(
        Completion(content=text),
        parser=get_parser("hermes"),
        reasoning_format=None,
        tools=[],
        used_ids=set(),
        turn=0,
    )
    messages = [history_message(reply)]
    messages += [{"role": "tool", "content": answer(call, registry)} for call in reply.calls]
    if reply.errors:
        messages.append(repair_request(reply.errors))
    return messages


def answer(call: ToolCall, registry: ToolRegistry) -> str:
    """What the model is told about one call."""
    tool = registry.get(call.name)
    if tool is None:
        return unknown_tool(call.name, registry).told
    try:
        args, kwargs = tool.bind(call.arguments)
    except InvalidArguments as error:
        return bad_arguments(call.name, error).told
    return str(tool(*args, **kwargs))
