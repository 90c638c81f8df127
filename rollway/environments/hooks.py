"""What an environment's hooks give back, looked at where they are called.

The hooks are a user's code: one that gives back something else is told by its name, and nothing is made of
what it gave.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from rollway.environments.base import Environment, Task
from rollway.errors import in_short
from rollway.limits import Limits
from rollway.tools import Tool
from rollway.trajectory import Message


def prompt_of(environment: Environment, task: Task) -> list[Message]:
    """The messages that a rollout begins with; copies, without keys that an Arrow table filled in with None.

    Raises:
        TypeError: `prompt` returned none.
    """
    messages = environment.prompt(task)
    if not _is_list(messages) or not all(isinstance(message, Mapping) for message in messages):
        raise _wrong("prompt", messages, "a list of messages, such as [{'role': 'user', 'content': '...'}]")
    return [_without_null_keys(message) for message in messages]


def _without_null_keys(message: Mapping[str, Any]) -> Message:
    """A message as it goes to the server: null ``content`` stays, and so does what a call's arguments say."""
    said = {name: value for name, value in message.items() if value is not None or name == "content"}
    for name in ("content", "tool_calls"):
        if isinstance(said.get(name), list):
            said[name] = [_without_nulls(part) for part in said[name]]
    return said


def _without_nulls(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    kept = {name: value for name, value in part.items() if value is not None}
    if isinstance(kept.get("function"), Mapping):
        kept["function"] = _without_nulls(kept["function"])
    return kept


def limits_of(environment: Environment, task: Task, limits: Limits) -> Limits:
    """The limits of a task's rollouts.

    Raises:
        TypeError: `limits_for` returned none.
    """
    own = environment.limits_for(task, limits)
    if not isinstance(own, Limits):
        raise _wrong("limits_for", own, "Limits, such as the ones passed to it")
    return own


def tools_of(environment: Environment, task: Task, workspace: Any) -> list[Tool]:
    """The environment's tools of one rollout.

    Raises:
        TypeError: `tools_for` returned none.
    """
    returned = environment.tools_for(task, workspace)
    tools = list(returned) if _is_list(returned) else None
    if tools is None or not all(isinstance(tool, Tool) for tool in tools):
        shown = returned if tools is None else tools
        raise _wrong("tools_for", shown, "a list of tools: functions decorated with @tool")
    return tools


def is_own(environment: Environment, hook: str) -> bool:
    """Has the environment a hook of its own? One that it has not need not be called."""
    return getattr(getattr(environment, hook), "__func__", None) is not getattr(Environment, hook)


async def awaited(hook: str, returned: Awaitable[Any]) -> Any:
    """What an async hook came to.

    Raises:
        TypeError: it is not async.
    """
    if not inspect.isawaitable(returned):
        raise TypeError(f"{hook} must be async: async def {hook}(...)")
    return await returned


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _wrong(hook: str, returned: Any, wanted: str) -> TypeError:
    return TypeError(f"{hook} returned {in_short(returned)}; it must return {wanted}")
