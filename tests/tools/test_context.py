"""A parameter of one of the rollout's types is the rollout's to give: the model neither sees nor sets it."""

from __future__ import annotations

import asyncio
import functools
import json
import pickle
import random
from collections.abc import Iterator
from typing import Annotated, Any

import pytest

from rollway.tools import (
    ExecutedCall,
    Notes,
    RolloutContext,
    Sandbox,
    SandboxError,
    SandboxFileError,
    Tool,
    ToolPool,
    ToolRegistry,
    Workspace,
    execute_call,
    execute_calls,
    tool,
)
from rollway.trajectory import ToolCall, ToolErrorKind


class Board:
    """Nothing that JSON can say."""

    def __init__(self) -> None:
        self.moves: list[str] = []


@pytest.fixture
def pool() -> Iterator[ToolPool]:
    with ToolPool(4) as made:
        yield made


async def ran(
    pool: ToolPool, made: Tool, context: RolloutContext | None = None, **arguments: Any
) -> ExecutedCall:
    call = ToolCall("call_1", made.name, json.dumps(arguments))
    return await execute_call(call, registry=ToolRegistry([made]), pool=pool, turn=1, context=context)


@tool
def everything(
    text: str,
    rng: random.Random,
    notes: Notes,
    context: RolloutContext,
    board: Workspace[Board],
    machine: Sandbox | None,
    count: int = 1,
) -> str:
    """Use all there is.

    Args:
        text: words
        rng: not for the model
    """
    assert context.random is rng
    assert context.notes is notes
    assert context.sandbox is machine
    notes["calls"] = notes.get("calls", 0) + count
    board.moves.append(text)
    return f"{text} {notes['calls']} {rng.random():.6f} {machine}"


@tool
async def run(command: str, sandbox: Sandbox) -> str:
    """Run a command."""
    return f"{command} in {sandbox}"


@tool
def flexible(text: str, notes: Notes, **options: int) -> list[str]:
    """Take anything."""
    return [text, *sorted(options)]


def test_the_model_is_not_shown_what_the_rollout_fills_in() -> None:
    assert list(everything.parameters["properties"]) == ["text", "count"]
    assert everything.parameters["required"] == ["text"]
    assert list(run.parameters["properties"]) == ["command"]


async def test_a_rollout_gives_its_tools_its_own_things(pool: ToolPool) -> None:
    board = Board()
    context = RolloutContext("r1", workspace=board, random=random.Random(7))
    first = await ran(pool, everything, context, text="a")
    second = await ran(pool, everything, context, text="b", count=2)
    numbers = random.Random(7)
    assert first.result.content == f"a 1 {numbers.random():.6f} None"
    assert second.result.content == f"b 3 {numbers.random():.6f} None"
    assert board.moves == ["a", "b"]


async def test_a_tool_that_needs_a_sandbox_says_so_where_there_is_none(pool: ToolPool) -> None:
    for context in (None, RolloutContext()):
        executed = await ran(pool, run, context, command="ls")
        assert executed.error is not None
        assert executed.error.kind is ToolErrorKind.SANDBOX
        assert executed.result.content == "Error: tool 'run' needs a sandbox, but this rollout has none"
    fake: Any = "the sandbox"
    assert (await ran(pool, run, RolloutContext(sandbox=fake), command="ls")).result.content == (
        "ls in the sandbox"
    )


@pytest.mark.parametrize(("made", "name"), [(everything, "rng"), (run, "sandbox"), (flexible, "notes")])
async def test_the_model_cannot_set_such_a_parameter(pool: ToolPool, made: Tool, name: str) -> None:
    given = {"command": "ls"} if made is run else {"text": "a"}
    executed = await ran(pool, made, **given, **{name: 1})
    assert executed.error is not None
    assert executed.error.kind is ToolErrorKind.INVALID_ARGUMENTS
    assert f"unknown '{name}'" in executed.result.content


async def test_further_arguments_are_still_taken_beside_it(pool: ToolPool) -> None:
    assert (await ran(pool, flexible, text="a", b=1, c=2)).result.content == '["a","b","c"]'


def test_a_tool_is_still_the_function_it_was() -> None:
    board = Board()
    context = RolloutContext(workspace=board)
    out = everything("x", context.random, context.notes, context, board, None)
    assert out.startswith("x 1 ")


class Shop:
    @tool
    def sell(self, item: str, notes: Notes) -> int:
        """Sell."""
        notes.setdefault("sold", []).append(item)
        return len(notes["sold"])


async def test_methods_take_them_too(pool: ToolPool) -> None:
    context = RolloutContext()
    shop = Shop()
    assert list(shop.sell.parameters["properties"]) == ["item"]
    assert (await ran(pool, shop.sell, context, item="a")).result.content == "1"
    assert (await ran(pool, tool(Shop().sell.function), context, item="b")).result.content == "2"


async def test_a_partial_keeps_what_it_was_given(pool: ToolPool) -> None:
    def say(text: str, notes: Notes, rng: random.Random) -> str:
        return f"{text} {notes['mine']}"

    mine = Notes(mine="own")
    bound = tool(functools.partial(say, notes=mine), name="say")
    assert list(bound.parameters["properties"]) == ["text"]
    assert (await ran(pool, bound, RolloutContext(), text="a")).result.content == "a own"


async def test_annotated_and_optional_types_are_seen_through(pool: ToolPool) -> None:
    def say(
        board: Workspace[Board] | None = None,
        notes: Annotated[Notes, "words"] | None = None,
        context: RolloutContext | None = None,
    ) -> bool:
        return context is not None and notes is context.notes and board is context.workspace

    made = tool(say)
    assert made.parameters.get("properties", {}) == {}
    assert (await ran(pool, made, RolloutContext(workspace=3))).result.content == "true"


def test_a_parameter_that_cannot_be_filled_in_by_name_is_refused() -> None:
    def by_position(sandbox: Sandbox, /) -> None: ...
    def many(*notes: Notes) -> None: ...
    def any_name(**notes: Notes) -> None: ...

    for function in (by_position, many, any_name):
        with pytest.raises(TypeError, match="is filled in by the rollout as a keyword"):
            tool(function)


async def test_a_failing_sandbox_is_told_from_a_refused_file(pool: ToolPool) -> None:
    @tool
    def lost() -> None:
        raise SandboxError("it was closed")

    @tool
    async def refused() -> None:
        raise SandboxFileError("../x leads out of the workspace")

    gone, no_file = await ran(pool, lost), await ran(pool, refused)
    assert gone.error is not None
    assert gone.error.kind is ToolErrorKind.SANDBOX
    assert gone.result.content == "Error: the sandbox of tool 'lost' failed: it was closed"
    assert no_file.error is not None
    assert no_file.error.kind is ToolErrorKind.TOOL_REPORTED
    assert no_file.result.content == "../x leads out of the workspace"


async def test_the_calls_of_a_turn_share_a_context(pool: ToolPool) -> None:
    @tool
    async def count(notes: Notes) -> int:
        notes["n"] = notes.get("n", 0) + 1
        await asyncio.sleep(0)
        return notes["n"]  # type: ignore[no-any-return]

    calls = [ToolCall(f"c{i}", "count", "") for i in range(3)]
    executed = await execute_calls(calls, registry=ToolRegistry([count]), pool=pool, turn=1)
    assert {one.result.content for one in executed} == {"3"}


def test_a_tool_with_such_parameters_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(run.context)) == run.context
