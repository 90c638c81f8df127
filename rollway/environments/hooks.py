"""What an environment's hooks give back, looked at where they are called.

The hooks are a user's code: one that gives back something else is told by its name, and nothing is made of
what it gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollway.absent_keys import present_message
from rollway.environments.base import Environment, Task
from rollway.errors import in_short
from rollway.limits import Limits
from rollway.tools import Tool
from rollway.trajectory import Message

ROLES = (
    *("system", "developer", "user", "assistant", "tool", "function"),
    *("ipython", "observation", "document", "control", "environment", "critic", "root"),
)
"""The roles of the chat format, and those that some model's template knows besides."""

_MEANT = {"human": "user", "bot": "assistant", "ai": "assistant", "gpt": "assistant", "model": "assistant"}
"""Roles of other formats."""


def prompt_of(environment: Environment, task: Task) -> list[Message]:
    """The messages that a rollout begins with, see `read_prompt`."""
    return read_prompt(environment.prompt(task))


def read_prompt(returned: Any) -> list[Message]:
    """What `prompt` returned, as messages: copies, without keys that an Arrow table filled in with None.

    Raises:
        TypeError: it is no list of messages, or one of them is none that servers take.
    """
    messages = list(returned) if _is_list(returned) else None
    if messages is None or not all(isinstance(message, Mapping) for message in messages):
        shown = returned if messages is None else messages
        raise _wrong("prompt", shown, "a list of messages, such as [{'role': 'user', 'content': '...'}]")
    for place, message in enumerate(messages):
        _check_message(place, message)
    return [dict(present_message(dict(message))) for message in messages]


def _check_message(place: int, message: Mapping[str, Any]) -> None:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        meant = _MEANT.get(role if isinstance(role, str) else "", "")
        hint = f" (did you mean {meant!r}?)" if meant else ""
        known = ", ".join(ROLES[:5])
        raise TypeError(f"prompt returned message {place} with role {role!r}{hint}; the roles are {known}")
    if not isinstance(content, str | Sequence | None):
        told = f"prompt returned message {place} with content {in_short(content)}"
        raise TypeError(f"{told}; it must be a text, or a list of parts")


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


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _wrong(hook: str, returned: Any, wanted: str) -> TypeError:
    return TypeError(f"{hook} returned {in_short(returned)}; it must return {wanted}")
