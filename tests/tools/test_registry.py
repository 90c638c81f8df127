"""A registry finds a tool by its one name, and knows what a wrong name may have meant."""

from __future__ import annotations

from typing import Any

import pytest

from rollway.tools import Tool, ToolRegistry, tool


@tool
def add(a: int, b: int) -> int:
    return a + b


@tool
def multiply(a: int, b: int) -> int:
    return a * b


class Box:
    @tool
    def lid(self) -> None: ...


def test_tools_keep_their_order() -> None:
    registry = ToolRegistry([multiply, add])
    assert registry.names == ["multiply", "add"]
    assert list(registry) == [multiply, add]
    assert registry.definitions() == [multiply.definition(), add.definition()]
    assert (len(registry), "add" in registry, "sub" in registry) == (2, True, False)


def test_a_tool_is_found_by_exactly_its_name() -> None:
    registry = ToolRegistry([add])
    assert registry.get("add") is add
    assert registry.get("Add") is None


@pytest.mark.parametrize(
    ("name", "meant"), [("ADD", "add"), ("functions.multiply", "multiply"), ("ad", "add")]
)
def test_a_near_name_is_suggested(name: str, meant: str) -> None:
    assert ToolRegistry([add, multiply]).near(name) == f" (did you mean {meant!r}?)"


def test_a_name_like_nothing_suggests_nothing() -> None:
    assert ToolRegistry([add]).near("weather") == ""
    assert ToolRegistry().near("add") == ""


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two tools are named 'add'"):
        ToolRegistry([add, Tool.from_schema("add", "", {"type": "object"}, print)])


def test_what_is_no_tool_is_refused_with_the_way_to_make_it_one() -> None:
    function: Any = print
    with pytest.raises(TypeError, match="decorate the function with @tool"):
        ToolRegistry([function])
    with pytest.raises(TypeError, match=r"use instance\.lid"):
        ToolRegistry([Box.lid])
    assert ToolRegistry([Box().lid]).names == ["lid"]
