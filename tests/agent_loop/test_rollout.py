"""What a turn asks of the server, and what it makes of the reply."""

from __future__ import annotations

from typing import Any

from loop_bench import QUESTION, bench, kinds, rolled_out, told
from scripted_server import error, hang_up, reply

from rollway.agent_loop.rollout import turn_seed
from rollway.inference import Sampling
from rollway.trajectory import StopReason, ToolErrorKind


async def test_tagged_calls_in_the_text_are_run() -> None:
    text = 'Let me add.\n<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
    trajectory = await rolled_out([reply(text), reply("5")])
    assert trajectory.turns[0].parsed_by == "hermes"
    assert trajectory.turns[0].content == "Let me add.\n"
    assert told(trajectory) == ["5"]


async def test_a_call_inside_a_thought_is_not_run() -> None:
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
    trajectory = await rolled_out([reply(f"<think>maybe {call}</think>It is 5.")])
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert trajectory.turns[0].tool_calls == []


async def test_a_good_call_is_kept_when_its_neighbour_is_bad() -> None:
    good = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
    bad = '<tool_call>\n{"name": "add", "arguments": {"a": 2,}}\n</tool_call>'
    trajectory = await rolled_out([reply(good + "\n" + bad), reply("5")])
    assert told(trajectory) == ["5"]
    assert kinds(trajectory) == [ToolErrorKind.PARSE]
    request = trajectory.messages[3]
    assert (request["role"], request["name"]) == ("user", "rollway")
    assert bad in (trajectory.turns[0].content or "")


async def test_a_call_that_the_server_left_in_the_text_is_run_or_reported() -> None:
    left = '<tool_call>\n{"name": "add", "arguments": {"a": 4, "b": 5}}\n</tool_call>'
    bad = '<tool_call>\n{"name": "add", "arguments": {"a": 4,\n</tool_call>'
    script = [reply(left + bad, tool_calls=[("add", {"a": 2, "b": 3})]), reply("5 and 9")]
    trajectory = await rolled_out(script)
    assert told(trajectory) == ["5", "9"]
    assert kinds(trajectory) == [ToolErrorKind.PARSE]
    assert trajectory.turns[0].parsed_by == "server"


async def test_text_that_could_not_be_read_is_kept_to_the_letter() -> None:
    text = '  so\n\n<tool_call>\n{"name": "add", "argum \n'
    trajectory = await rolled_out([reply(text), reply("5")])
    assert trajectory.turns[0].content == text


async def test_a_thought_is_split_from_the_text_in_the_format_asked_for() -> None:
    trajectory = await rolled_out([reply("<think>two and three</think>5")], reasoning_parser="qwen3")
    assert (trajectory.turns[0].reasoning, trajectory.turns[0].content) == ("two and three", "5")


async def test_repeated_and_empty_call_ids_are_made_unique() -> None:
    def calls(*ids: str) -> list[dict[str, Any]]:
        function = {"name": "add", "arguments": '{"a": 1, "b": 1}'}
        return [{"id": identity, "type": "function", "function": function} for identity in ids]

    script = [
        reply(tool_calls=calls("x", "x", "")),
        reply(tool_calls=calls("x", "call_0_2")),
        reply("2"),
    ]
    trajectory = await rolled_out(script)
    assert trajectory.turns[0].tool_calls[0].id == "x"
    assert len(told(trajectory)) == 5


async def test_an_id_that_a_mistral_template_accepts_stays_one_when_it_is_repeated() -> None:
    function = {"name": "add", "arguments": '{"a": 1, "b": 1}'}
    calls = [{"id": "aB3dE6gH9", "type": "function", "function": function}] * 12
    trajectory = await rolled_out([reply(tool_calls=calls), reply("2")])
    ids = [call.id for call in trajectory.turns[0].tool_calls]
    assert all(len(identity) == 9 and identity.isalnum() for identity in ids)


async def test_each_turn_is_asked_with_a_seed_of_its_own_fixed_by_the_rollouts() -> None:
    script = [reply(tool_calls=[("add", {"a": 2, "b": 3})]), reply("5")]
    async with bench(script) as it:
        await it.loop(sampling=Sampling(seed=11)).run(QUESTION)
        seeds = [request.body["seed"] for request in it.server.requests]
    assert seeds == [turn_seed(11, 0), turn_seed(11, 1)]
    assert seeds[0] != seeds[1]


async def test_the_next_request_holds_the_calls_arguments_as_the_model_wrote_them() -> None:
    arguments = '{"a":2,   "b": 3}'
    async with bench([reply(tool_calls=[("add", arguments)]), reply("5")]) as it:
        trajectory = await it.loop().run(QUESTION)
        sent = it.server.requests[1].body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert sent == arguments
    assert trajectory.turns[0].tool_calls[0].arguments == arguments


async def test_a_server_fault_ends_in_the_record_with_what_was_there() -> None:
    trajectory = await rolled_out(
        [reply(tool_calls=[("add", {"a": 2, "b": 3})]), error(400, "no such field")]
    )
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    assert trajectory.error is not None
    assert (trajectory.error.kind, trajectory.error.where) == ("BadRequest", "model")
    assert len(trajectory.error.attempts) == 1
    assert told(trajectory) == ["5"]


async def test_a_failed_try_is_recorded_on_the_turn_that_came_of_it() -> None:
    trajectory = await rolled_out([hang_up(), reply("5")])
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert len(trajectory.turns[0].attempts) == 1
