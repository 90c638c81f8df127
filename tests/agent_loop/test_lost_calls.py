"""No call is lost in silence: in a thought that a server never closed, behind marks that it took off."""

from __future__ import annotations

from typing import Any

import pytest
from loop_bench import QUESTION, assert_valid, bench, kinds, rolled_out, told
from scripted_server import reply

from rollway.limits import Limits
from rollway.tool_parsers import get_parser, list_parsers
from rollway.trajectory import StopReason, ToolCall, ToolErrorKind

GOOD = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'


def thought(text: str, field: str = "reasoning_content", **fields: Any) -> dict[str, Any]:
    return reply(None, reasoning=text, reasoning_field=field, finish_reason="stop", **fields)


@pytest.mark.parametrize("name", list_parsers())
async def test_a_whole_call_that_was_left_in_the_thought_is_run_in_every_format(name: str) -> None:
    call = get_parser(name).render([ToolCall("functions.add:0", "add", '{"a": 2, "b": 3}')])
    separator = "" if name == "openai" else "I add them.\n"
    trajectory = await rolled_out([thought(separator + call), reply("5")], tool_parser=name)
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert told(trajectory) == ["5"]
    assert trajectory.tool_errors == []
    assert (trajectory.turns[0].reasoning or "").strip() == separator.strip()
    assert trajectory.turns[0].parsed_by == get_parser(name).name


@pytest.mark.parametrize(
    "name", ["kimi_k2", "deepseek_v32", "mistral", "gemma4", "minimax_m2", "qwen3_coder", "glm45"]
)
async def test_a_server_whose_format_is_not_the_loops_is_read_by_the_marks_in_its_text(name: str) -> None:
    call = get_parser(name).render([ToolCall("functions.add:0", "add", '{"a": 2, "b": 3}')])
    trajectory = await rolled_out([thought("I add." + call, "reasoning"), reply("5")])
    assert told(trajectory) == ["5"]
    assert trajectory.turns[0].parsed_by == name


async def test_the_rest_of_the_thought_goes_back_without_the_call() -> None:
    async with bench([thought(f"I add.{GOOD}"), reply("5")]) as it:
        trajectory = await it.loop().run(QUESTION)
        message = it.server.requests[1].body["messages"][1]
    assert trajectory.turns[0].reasoning == message["reasoning_content"] == "I add."
    assert len(message["tool_calls"]) == 1


async def test_a_call_in_the_thought_that_cannot_be_read_is_a_parse_error() -> None:
    trajectory = await rolled_out([thought("I add.<tool_call>{'name': 1}</tool_call>"), reply("5")])
    assert kinds(trajectory) == [ToolErrorKind.PARSE]
    assert trajectory.stop_reason is StopReason.COMPLETED


@pytest.mark.parametrize(
    "first",
    [
        reply("It is 5.", reasoning=f"Or {GOOD}?"),
        reply(None, reasoning=f"Or {GOOD}?", tool_calls=[("add", {"a": 1, "b": 1})]),
    ],
)
async def test_a_thought_beside_an_answer_or_a_call_was_closed_and_is_not_looked_into(first: Any) -> None:
    trajectory = await rolled_out([first, reply("5")])
    assert [call.arguments for turn in trajectory.turns for call in turn.tool_calls] in (
        [],
        ['{"a": 1, "b": 1}'],
    )


async def test_a_call_in_a_thought_that_was_cut_off_is_not_run() -> None:
    cut = thought(f"I add.{GOOD}")
    cut["choices"][0]["finish_reason"] = "length"
    trajectory = await rolled_out([cut])
    assert trajectory.stop_reason is StopReason.TRUNCATED
    assert kinds(trajectory) == [ToolErrorKind.CANCELLED]
    assert_valid(trajectory)


async def test_a_name_with_a_special_token_behind_it_is_the_tools() -> None:
    call = ("add<|channel|>commentary", {"a": 2, "b": 3})
    async with bench([reply(tool_calls=[call]), reply("5")]) as it:
        trajectory = await it.loop().run(QUESTION)
        message = it.server.requests[1].body["messages"][1]
    assert told(trajectory) == ["5"]
    assert message["tool_calls"][0]["function"]["name"] == "add"


async def test_special_tokens_are_asked_for_where_a_format_is_marked_by_them() -> None:
    for options, asked in (
        ({"tool_parser": "mistral"}, True),
        ({"tool_parser": "hermes"}, False),
        ({"tool_parser": None}, False),
        ({"tool_parser": "hermes", "reasoning_parser": "gemma4"}, True),
        ({"tool_parser": "hermes", "reasoning_parser": "qwen3"}, False),
    ):
        async with bench([reply("5")]) as it:
            await it.loop(**options).run(QUESTION)
        body = it.server.requests[0].body
        assert body.get("skip_special_tokens") == (False if asked else None)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("mistral", "</s>"),
        ("gemma4", "<turn|>"),
        ("kimi_k2", "<|im_end|>"),
        ("deepseek_v31", "<｜end▁of▁sentence｜>\n"),
    ],
)
async def test_the_token_that_ends_a_turn_is_no_word_of_the_models(name: str, end: str) -> None:
    call = get_parser(name).render([ToolCall("functions.add:0", "add", '{"a": 2, "b": 3}')])
    trajectory = await rolled_out([reply(call + end), reply(f"It is 5.{end}")], tool_parser=name)
    assert [turn.content for turn in trajectory.turns] == [None, "It is 5."]
    assert told(trajectory) == ["5"]


async def test_such_a_token_stays_where_it_was_not_asked_for() -> None:
    trajectory = await rolled_out([reply("The tag is </s>")])
    assert trajectory.turns[0].content == "The tag is </s>"


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ('add[ARGS]{"a": 2, "b": 3}', "mistral", "the marks of mistral are special tokens"),
        ("call:add{a:2,b:3}", "gemma4", "the marks of gemma4 are special tokens"),
        (
            '[TOOL_CALLS]add[ARGS]{"a": 2, "b": 3}',
            "hermes",
            "its marks are those of mistral",
        ),
        ("add(a=2, b=3)", "hermes", "tool_parser hermes is hardly the model's format"),
        (GOOD, None, "tool_parser is null"),
    ],
)
async def test_a_call_that_is_lost_is_told_once_with_what_is_probably_wrong(
    text: str, name: str | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(lambda request: reply(text)) as it:
        for _ in range(3):
            await it.loop(tool_parser=name, limits=Limits(max_turns=2)).run(QUESTION)
    (line,) = [record.getMessage() for record in caplog.records if "no call was read" in record.getMessage()]
    assert "'add'" in line
    assert why in line
    assert "\n" not in line


async def test_an_answer_is_not_taken_for_a_lost_call(caplog: pytest.LogCaptureFixture) -> None:
    await rolled_out([reply("I would add (2 and 3): it is {5}.")])
    assert caplog.records == []
