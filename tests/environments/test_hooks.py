"""What an environment's hooks give back is looked at where they are called."""

from __future__ import annotations

from typing import Any

import pytest

from rollway import Environment, Limits, tool
from rollway.environments.hooks import limits_of, prompt_of, tools_of


@tool
def look() -> str:
    """Look."""
    return "seen"


def giving(hook: str, returned: Any) -> Environment:
    environment = Environment()
    setattr(environment, hook, lambda *arguments: returned)
    return environment


@pytest.mark.parametrize("returned", ["hello", {"role": "user", "content": "hello"}, None, ["hello"], 3])
def test_a_prompt_that_is_no_list_of_messages_is_told_so(returned: Any) -> None:
    with pytest.raises(TypeError, match=r"^prompt returned .*; it must return a list of messages, such as"):
        prompt_of(giving("prompt", returned), {})


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"role": "human", "content": "hi"}, r"message 0 with role 'human' \(did you mean 'user'\?\)"),
        (
            {"role": "usr", "content": "hi"},
            "message 0 with role 'usr'; the roles are system, ",
        ),
        ({"content": "hi"}, "message 0 with role None"),
        ({"role": ["user"], "content": "hi"}, "message 0 with role"),
        ({"role": "user", "content": 5}, "message 0 with content 5; it must be a text, or a list of parts"),
    ],
)
def test_a_message_that_no_server_takes_is_told_of(message: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        prompt_of(giving("prompt", [message]), {})


def test_a_prompts_messages_are_copies() -> None:
    message = {"role": "user", "content": "hello"}
    (copy,) = prompt_of(giving("prompt", (message,)), {})
    assert copy == message
    assert copy is not message


def test_a_prompts_messages_may_come_one_by_one() -> None:
    message = {"role": "user", "content": "hello"}
    assert prompt_of(giving("prompt", iter([message])), {}) == [message]


def test_keys_that_a_table_filled_in_are_absent_from_a_prompt() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "strict": None}}
    message = {"role": "assistant", "content": None, "name": None, "tool_calls": [{**call, "index": None}]}
    (found,) = prompt_of(giving("prompt", [message]), {})
    assert found["content"] is None
    assert "name" not in found
    assert found["tool_calls"] == [{**call, "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize("returned", [None, look, "terminal", [look, len], {"look": look}])
def test_what_is_no_list_of_tools_is_told_so(returned: Any) -> None:
    with pytest.raises(TypeError, match=r"^tools_for returned .*; it must return a list of tools"):
        tools_of(giving("tools_for", returned), {}, None)


def test_tools_may_come_one_by_one() -> None:
    assert tools_of(giving("tools_for", iter([look])), {}, None) == [look]


def test_limits_that_are_none_are_told_so() -> None:
    with pytest.raises(TypeError, match=r"^limits_for returned None; it must return Limits"):
        limits_of(giving("limits_for", None), {}, Limits())
    assert limits_of(Environment(), {}, Limits(max_turns=3)) == Limits(max_turns=3)
