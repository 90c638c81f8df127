"""Tools by name."""

from __future__ import annotations

import json

import pytest

from rollway.errors import UserError
from rollway.tools.builtin import TOOLSETS, builtin_tools, toolset


@pytest.mark.parametrize("name", TOOLSETS)
def test_a_set_has_the_tools_that_it_says(name: str) -> None:
    assert tuple(tool.name for tool in toolset(name)) == TOOLSETS[name]


def test_sets_and_single_tools_are_put_together_in_order_and_once() -> None:
    names = [tool.name for tool in builtin_tools(["todo", "edit_file", "files", "todo"])]
    assert names == ["todo", "edit_file", "read_file", "write_file", "list_files", "search_files"]


def test_the_web_is_off_unless_hosts_are_given() -> None:
    assert "http_get" not in {tool.name for tool in builtin_tools(TOOLSETS)}
    assert [tool.name for tool in builtin_tools([], http_hosts=["example.com"])] == ["http_get"]
    with pytest.raises(UserError, match="http_get requires hosts"):
        builtin_tools(["http_get"])


def test_the_web_may_be_asked_for_by_name_where_hosts_are_given() -> None:
    tools = builtin_tools(["http_get", "todo"], http_hosts=["example.com"])
    assert sorted(tool.name for tool in tools) == ["http_get", "todo"]


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'terminal'"):
        toolset("terminl")
    with pytest.raises(UserError, match="did you mean 'read_file'"):
        builtin_tools(["readfile"])


def test_no_schema_shows_what_the_rollout_fills_in_and_all_are_short() -> None:
    for tool in builtin_tools(TOOLSETS, http_hosts=["example.com"]):
        text = json.dumps(tool.definition())
        assert "sandbox" not in tool.parameters["properties"]
        assert "notes" not in tool.parameters["properties"]
        assert len(text) < 700
        assert tool.description.endswith(".")


def test_the_settings_reach_the_tools() -> None:
    (terminal,) = toolset("terminal", timeout=7)
    assert "at most 7" in json.dumps(terminal.parameters)
