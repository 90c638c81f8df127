"""Every call of a model is answered once, in words that help it, and every failure is on record."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from rollway.tools import (
    ExecutedCall,
    Tool,
    ToolFailed,
    ToolOutput,
    ToolPool,
    ToolRegistry,
    answer_without_running,
    execute_call,
    execute_calls,
    tool,
)
from rollway.trajectory import ToolCall, ToolErrorKind


@pytest.fixture
def pool() -> Iterator[ToolPool]:
    with ToolPool(8) as made:
        yield made


@tool
def add(a: int, b: int = 0) -> int:
    """Add."""
    return a + b


def call(name: str, arguments: str | None = "", call_id: str = "call_1") -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments)  # type: ignore[arg-type]


async def ran(pool: ToolPool, made: Tool, arguments: str | None = "", **options: Any) -> ExecutedCall:
    return await execute_call(
        call(made.name, arguments), registry=ToolRegistry([made]), pool=pool, turn=2, **options
    )


def failed(executed: ExecutedCall, kind: ToolErrorKind) -> str:
    """The one record of a failed call, checked; returns what the model was told."""
    assert executed.error is not None
    assert executed.result.ok is False
    assert executed.error.kind is kind
    assert executed.error.turn == 2
    assert executed.error.tool_name == executed.result.name
    assert executed.error.tool_result == executed.result.content
    assert executed.error.error
    return executed.result.content


async def test_a_call_that_goes_well_is_answered_with_its_times(pool: ToolPool) -> None:
    asked = time.monotonic()
    executed = await ran(pool, add, '{"a": 1, "b": "2"}')
    took = time.monotonic() - asked
    assert executed.error is None
    assert executed.stop is False
    result = executed.result
    assert (result.call_id, result.name, result.content, result.ok) == ("call_1", "add", "3", True)
    assert 0 <= result.duration <= took
    assert 0 <= result.queued <= took - result.duration
    assert result.truncated_from is None


async def test_a_call_runs_its_tool_once(pool: ToolPool) -> None:
    runs: list[str] = []

    def note() -> None:
        runs.append("sync")

    async def note_async() -> None:
        runs.append("async")

    for function in (note, note_async):
        assert (await ran(pool, tool(function))).result.content == ""
    assert runs == ["sync", "async"]


async def test_an_unknown_tool_is_answered_with_the_names_that_exist(pool: ToolPool) -> None:
    executed = await execute_call(call("Add", '{"a": 1}'), registry=ToolRegistry([add]), pool=pool, turn=2)
    assert failed(executed, ToolErrorKind.UNKNOWN_TOOL) == (
        "Error: there is no tool named 'Add' (did you mean 'add'?); the tools are: add"
    )
    assert executed.error is not None
    assert executed.error.arguments == '{"a": 1}'
    nothing = await execute_call(call("add"), registry=ToolRegistry(), pool=pool, turn=2)
    assert failed(nothing, ToolErrorKind.UNKNOWN_TOOL).endswith("there are no tools")


async def test_a_model_is_not_told_of_a_thousand_tools(pool: ToolPool) -> None:
    many = [Tool.from_schema(f"tool_{number}", "", {"type": "object"}, print) for number in range(1000)]
    executed = await execute_call(call("x"), registry=ToolRegistry(many), pool=pool, turn=2)
    assert len(failed(executed, ToolErrorKind.UNKNOWN_TOOL)) < 1000


@pytest.mark.parametrize("arguments", [None, "", "  ", "{}"])
async def test_no_arguments_mean_an_empty_object(pool: ToolPool, arguments: str | None) -> None:
    @tool
    def ping() -> str:
        return "pong"

    assert (await ran(pool, ping, arguments)).result.content == "pong"


@pytest.mark.parametrize(
    "arguments", ["[1]", "null", '"x"', "NaN", "3", '{"a": 1', "{'a': 1}", '"{\\"a\\": 1}"', "[" * 100_000]
)
async def test_arguments_that_are_no_object_are_told_and_the_tool_does_not_run(
    pool: ToolPool, arguments: str
) -> None:
    runs: list[Any] = []

    @tool
    def note(a: Any = None) -> None:
        runs.append(a)

    executed = await ran(pool, note, arguments)
    assert failed(executed, ToolErrorKind.INVALID_ARGUMENTS).startswith(
        "Error: invalid arguments for tool 'note': the arguments "
    )
    assert executed.error is not None
    assert executed.error.arguments == arguments
    assert runs == []


async def test_arguments_that_do_not_fit_are_told_by_name(pool: ToolPool) -> None:
    told = failed(await ran(pool, add, '{"a": "x", "c": 1}'), ToolErrorKind.INVALID_ARGUMENTS)
    assert "'a', got \"x\": input should be a valid integer" in told
    assert "unknown 'c'" in told


class Grumpy(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error", [RuntimeError, KeyError, SystemExit, KeyboardInterrupt, asyncio.CancelledError]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_tool_that_raises_runs_once_and_the_model_is_told_type_and_message(
    pool: ToolPool, error: type[BaseException], is_async: bool
) -> None:
    runs: list[int] = []

    def fail() -> None:
        runs.append(1)
        raise error("the fuse")

    async def fail_async() -> None:
        fail()

    executed = await ran(pool, tool(fail_async if is_async else fail))
    told = failed(executed, ToolErrorKind.EXCEPTION)
    assert error.__name__ in told
    assert "the fuse" in told
    assert "Traceback" not in told
    assert ".py" not in told
    assert executed.error is not None
    assert "test_execution.py:" in executed.error.error
    assert "in fail" in executed.error.error
    assert runs == [1]


async def test_an_exception_that_cannot_be_printed_is_still_answered(pool: ToolPool) -> None:
    @tool
    def fail() -> None:
        raise Grumpy

    assert "Grumpy: (its message cannot be read: RuntimeError)" in failed(
        await ran(pool, fail), ToolErrorKind.EXCEPTION
    )


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_tool_that_hangs_is_answered_with_the_seconds_it_had(
    pool: ToolPool, gate: threading.Event, is_async: bool
) -> None:
    def hang() -> None:
        gate.wait()

    async def hang_async() -> None:
        await asyncio.Event().wait()

    executed = await ran(pool, tool(name="hang")(hang_async if is_async else hang), timeout=0.05)
    assert failed(executed, ToolErrorKind.TIMEOUT) == "Error: tool 'hang' timed out after 0.05 seconds"
    assert executed.result.duration >= 0.05


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (ToolOutput("the door is locked", ok=False), "the door is locked"),
        ({"error": "locked", "door": 3}, '{"error":"locked","door":3}'),
    ],
)
async def test_an_error_that_a_tool_reports_reaches_the_model_in_its_own_words(
    pool: ToolPool, output: Any, told: str
) -> None:
    @tool
    def open_door() -> Any:
        return output

    assert failed(await ran(pool, open_door), ToolErrorKind.TOOL_REPORTED) == told


async def test_tool_failed_is_an_error_that_the_tool_reports(pool: ToolPool) -> None:
    @tool
    def open_door(why: str = "") -> None:
        raise ToolFailed(why) if why else ToolFailed

    assert failed(await ran(pool, open_door, '{"why": "locked"}'), ToolErrorKind.TOOL_REPORTED) == "locked"
    assert failed(await ran(pool, open_door), ToolErrorKind.TOOL_REPORTED) == (
        "Error: tool 'open_door' failed without an error message"
    )


async def test_a_result_that_json_cannot_say_is_an_exception_in_clear_words(pool: ToolPool) -> None:
    @tool
    def odd() -> Any:
        return {"when": object()}

    told = failed(await ran(pool, odd), ToolErrorKind.EXCEPTION)
    assert told.startswith("Error: tool 'odd' ran, but it returned a dict that cannot be written as JSON")
    assert told.endswith("object cannot be converted to JSON")


async def test_a_tool_may_end_the_rollout(pool: ToolPool) -> None:
    @tool
    def submit(answer: str) -> ToolOutput:
        return ToolOutput({"submitted": answer}, stop=True)

    executed = await ran(pool, submit, '{"answer": "42"}')
    assert (executed.stop, executed.result.content, executed.error) == (True, '{"submitted":"42"}', None)


async def test_a_huge_result_is_cut_in_the_middle_and_says_so(pool: ToolPool) -> None:
    @tool
    def read(size: int) -> str:
        return "a" + "x" * (size - 2) + "z"

    executed = await ran(pool, read, '{"size": 3000000}')
    assert len(executed.result.content) <= 50_000
    assert executed.result.truncated_from == 3_000_000
    assert (executed.result.content[0], executed.result.content[-1]) == ("a", "z")
    assert "characters cut" in executed.result.content
    short = await ran(pool, read, '{"size": 500}', max_result_chars=500)
    assert (len(short.result.content), short.result.truncated_from) == (500, None)


async def test_a_huge_exception_is_cut_too(pool: ToolPool) -> None:
    @tool
    def fail() -> None:
        raise ValueError("v" * 10**6)

    executed = await ran(pool, fail, max_result_chars=1000)
    assert len(failed(executed, ToolErrorKind.EXCEPTION)) <= 1000
    assert executed.error is not None
    assert len(executed.error.error) < 3000


async def test_every_answer_can_be_written_as_json(pool: ToolPool) -> None:
    @tool
    def echo(text: str) -> str:
        return text

    executed = await ran(pool, echo, r'{"text": "half a \ud83d pair"}')
    assert executed.result.content == "half a ? pair"
    assert msgspec.json.decode(msgspec.json.encode(executed), type=ExecutedCall) == executed
    wrong = await ran(pool, echo, r'{"\ud83d": 1}')
    assert msgspec.json.decode(msgspec.json.encode(wrong), type=ExecutedCall) == wrong


async def test_calls_of_one_turn_run_at_the_same_time_and_come_back_in_their_order(pool: ToolPool) -> None:
    meeting = threading.Barrier(3)

    @tool
    def meet(number: int) -> int:
        meeting.wait(60)
        return number

    @tool
    async def wait() -> str:
        await asyncio.sleep(0.05)
        return "waited"

    calls = [
        call("wait", "", "z"),
        call("meet", '{"number": 3}', "c"),
        call("meet", '{"number": 1}', "a"),
        call("meet", '{"number": 2}', "a"),
    ]
    executed = await execute_calls(calls, registry=ToolRegistry([meet, wait]), pool=pool, turn=1)
    assert [(each.result.call_id, each.result.content) for each in executed] == [
        ("z", "waited"),
        ("c", "3"),
        ("a", "1"),
        ("a", "2"),
    ]


async def test_a_failing_call_does_not_touch_its_siblings(pool: ToolPool, gate: threading.Event) -> None:
    @tool
    def explode() -> None:
        raise SystemExit(1)

    @tool
    def hang() -> None:
        gate.wait()

    names = ["add", "explode", "nothing", "hang", "add"]
    executed = await execute_calls(
        [call(name, '{"a": 5}' if name == "add" else "", name) for name in names],
        registry=ToolRegistry([add, explode, hang]),
        pool=pool,
        turn=1,
        timeout=1.0,  # enough for the others on any machine
    )
    assert [each.result.call_id for each in executed] == names
    assert [each.error and each.error.kind.value for each in executed] == [
        None,
        "exception",
        "unknown_tool",
        "timeout",
        None,
    ]
    assert [executed[0].result.content, executed[4].result.content] == ["5", "5"]


async def test_no_calls_give_no_results(pool: ToolPool) -> None:
    assert await execute_calls([], registry=ToolRegistry(), pool=pool, turn=1) == []


async def test_cancelling_leaves_nothing_on_the_event_loop(pool: ToolPool, gate: threading.Event) -> None:
    began, cleaned = asyncio.Event(), []

    @tool
    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    @tool
    def hang() -> None:
        gate.wait()

    before = asyncio.all_tasks()
    calls = asyncio.create_task(
        execute_calls([call("wait"), call("hang")], registry=ToolRegistry([wait, hang]), pool=pool, turn=1)
    )
    await began.wait()
    calls.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls
    assert cleaned == [True]
    assert asyncio.all_tasks() == before


async def test_a_closed_pool_is_answered_as_cancelled(pool: ToolPool) -> None:
    pool.close()
    assert failed(await ran(pool, add, '{"a": 1}'), ToolErrorKind.CANCELLED) == (
        "Error: tool 'add' was not run: the tool pool was closed"
    )


async def test_a_call_can_be_answered_without_running_it() -> None:
    executed = answer_without_running(
        call("add", '{"a": 1}'), turn=2, kind=ToolErrorKind.NOT_ALLOWED, error="the limit", told="Not run."
    )
    assert failed(executed, ToolErrorKind.NOT_ALLOWED) == "Not run."
    assert executed.error is not None
    assert (executed.error.error, executed.error.arguments) == ("the limit", '{"a": 1}')


async def test_a_large_result_does_not_stop_the_event_loop(pool: ToolPool) -> None:
    rows = [{"row": number, "text": "x" * 20} for number in range(200_000)]
    threads: list[int] = []

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            threads.append(threading.get_ident())
            return super().items()

    @tool
    def table() -> Any:
        return {"watched": Watched(a=1), "rows": rows}

    executed = await ran(pool, table, max_result_chars=10**8)
    assert len(json.loads(executed.result.content)["rows"]) == 200_000
    assert threads
    assert threading.get_ident() not in threads
