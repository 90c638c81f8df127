"""The to-do list of a rollout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rollway.tools import ExecutedCall
from rollway.tools.builtin import todo_tool
from rollway.tools.context import RolloutContext

Run = Callable[..., Awaitable[str]]
TODO = todo_tool()


@pytest.fixture
def context() -> RolloutContext:
    """It needs no sandbox."""
    return RolloutContext()


async def test_things_are_added_completed_and_kept(call: Run) -> None:
    assert await call(TODO) == "[the list is empty]"
    assert await call(TODO, add=["read the code", "mend\nit"]) == "1. [ ] read the code\n2. [ ] mend it"
    assert (
        await call(TODO, complete=[1], add=["test it"])
        == "1. [x] read the code\n2. [ ] mend it\n3. [ ] test it"
    )
    assert await call(TODO, complete=[3, 3]) == "1. [x] read the code\n2. [ ] mend it\n3. [x] test it"


async def test_a_wrong_number_changes_nothing(
    call: Run, execute: Callable[..., Awaitable[ExecutedCall]]
) -> None:
    await call(TODO, add=["one"])
    for number in (0, 2, -1):
        done = await execute(TODO, complete=[1, number])
        assert done.error is not None
        assert done.result.content == f"Error: no item {number}; the numbers go from 1 to 1. Nothing changed."
    assert await call(TODO) == "1. [ ] one"


async def test_the_list_is_bounded(call: Run) -> None:
    assert "Nothing changed" in await call(TODO, add=["x"] * 101)
    assert "Nothing changed" in await call(TODO, add=["x" * 501])
    assert await call(TODO) == "[the list is empty]"


async def test_two_rollouts_have_two_lists(call: Run, context: RolloutContext) -> None:
    await call(TODO, add=["one"])
    context.notes = type(context.notes)()
    assert await call(TODO) == "[the list is empty]"
