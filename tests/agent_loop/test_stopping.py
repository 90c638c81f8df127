"""Why a rollout ends: only a whole reply is an answer, and the first limit gives the reason."""

from __future__ import annotations

import pytest
from loop_bench import QUESTION, bench, kinds, rolled_out, submit, told
from scripted_server import error, reply

from rollway.agent_loop.stopping import reached_limit
from rollway.inference import Sampling
from rollway.limits import Limits
from rollway.trajectory import StopReason, ToolErrorKind, Trajectory


async def test_an_empty_reply_is_no_answer() -> None:
    assert (await rolled_out([reply("")])).stop_reason is StopReason.EMPTY_RESPONSE
    assert (await rolled_out([reply(None, reasoning="hm")])).stop_reason is StopReason.EMPTY_RESPONSE


async def test_an_unclosed_call_is_no_final_answer() -> None:
    trajectory = await rolled_out([reply('<tool_call>\n{"name": "add", "argum'), reply("5")])
    assert kinds(trajectory) == [ToolErrorKind.PARSE]
    assert len(trajectory.turns) == 2
    assert trajectory.messages[2]["name"] == "rollway"


async def test_a_reply_cut_at_its_length_is_truncated() -> None:
    trajectory = await rolled_out([reply("The answer is", finish_reason="length")])
    assert trajectory.stop_reason is StopReason.TRUNCATED


@pytest.mark.parametrize("parsed_by_server", [True, False])
async def test_a_call_cut_at_its_length_is_not_run_though_its_json_parses(parsed_by_server: bool) -> None:
    text = '<tool_call>\n{"name": "submit", "arguments": {"answer": "1"}}\n</tool_call>'
    cut = reply(tool_calls=[("submit", {"answer": "1"})]) if parsed_by_server else reply(text)
    cut["choices"][0]["finish_reason"] = "length"
    trajectory = await rolled_out([cut], submit)
    assert trajectory.stop_reason is StopReason.TRUNCATED
    assert kinds(trajectory) == [ToolErrorKind.CANCELLED]
    assert "submitted" not in told(trajectory)[0]


@pytest.mark.parametrize("finish_reason", ["length", "abort"])
async def test_a_call_that_was_cut_in_two_is_recorded_and_not_asked_for_again(finish_reason: str) -> None:
    whole = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
    cut = reply(whole + '<tool_call>\n{"name": "add", "argum', finish_reason=finish_reason)
    trajectory = await rolled_out([cut])
    assert kinds(trajectory) == [ToolErrorKind.CANCELLED, ToolErrorKind.PARSE]
    unread = trajectory.tool_errors[1]
    assert unread.turn == 1
    assert unread.arguments == '<tool_call>\n{"name": "add", "argum'
    assert unread.error.startswith("unclosed at character")
    assert unread.error.endswith(f"the reply ended with {finish_reason!r}")
    assert unread.tool_result == ""
    assert [message["role"] for message in trajectory.messages] == ["user", "assistant", "tool"]


async def test_a_reply_that_the_server_aborted_is_no_completion() -> None:
    trajectory = await rolled_out([reply("half an ans", finish_reason="abort")])
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    assert trajectory.turns[0].content == "half an ans"


async def test_a_tool_can_end_the_rollout() -> None:
    trajectory = await rolled_out([reply(tool_calls=[("submit", {"answer": "5"})])], submit)
    assert trajectory.stop_reason is StopReason.TOOL_STOPPED
    assert told(trajectory) == ["submitted 5"]


async def test_the_environment_can_end_the_rollout_after_a_turns_tools() -> None:
    async with bench([reply(tool_calls=[("add", {"a": 2, "b": 3})])]) as it:
        trajectory = await it.loop().run(
            QUESTION, done=lambda so_far: so_far.messages[-1].get("content") == "5"
        )
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_DONE


@pytest.mark.parametrize("fault", [TimeoutError("the board did not answer"), KeyError("board")])
async def test_a_done_that_raises_is_an_environment_error_and_nothing_else(fault: Exception) -> None:
    def done(so_far: Trajectory) -> bool:
        raise fault

    async with bench([reply(tool_calls=[("add", {"a": 2, "b": 3})])]) as it:
        trajectory = await it.loop().run(QUESTION, done=done)
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert trajectory.error is not None
    assert (trajectory.error.kind, trajectory.error.message) == (type(fault).__name__, str(fault))
    assert trajectory.error.where == "environment"
    assert "in done" in (trajectory.error.traceback or "")
    assert told(trajectory) == ["5"]


async def test_the_last_tool_results_are_kept_when_max_turns_is_reached() -> None:
    trajectory = await rolled_out([reply(tool_calls=[("add", {"a": 2, "b": 3})])], limits=Limits(max_turns=1))
    assert trajectory.stop_reason is StopReason.MAX_TURNS
    assert trajectory.messages[-1]["content"] == "5"


async def test_the_token_budget_is_the_whole_rollouts() -> None:
    first = reply(tool_calls=[("add", {"a": 2, "b": 3})], token_ids=list(range(30)))
    async with bench([first, reply("the ans", finish_reason="length", token_ids=list(range(20)))]) as it:
        limits = Limits(max_completion_tokens=50)
        trajectory = await it.loop(limits=limits, sampling=Sampling(max_tokens=40)).run(QUESTION)
        asked = [request.body["max_tokens"] for request in it.server.requests]
    assert asked == [40, 20]
    assert trajectory.stop_reason is StopReason.MAX_TOKENS


async def test_context_overflow_is_a_stop_reason_of_its_own() -> None:
    message = (
        "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049"
    )
    trajectory = await rolled_out([reply(tool_calls=[("add", {"a": 2, "b": 3})]), error(400, message)])
    assert trajectory.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert trajectory.error is None
    assert len(trajectory.turns) == 1


def test_the_first_limit_that_is_reached_gives_the_reason() -> None:
    limits = Limits(max_turns=2)
    assert reached_limit(limits, turns=1, tokens_left=1) is None
    assert reached_limit(limits, turns=1, tokens_left=0) is StopReason.MAX_TOKENS
    assert reached_limit(limits, turns=2, tokens_left=0) is StopReason.MAX_TURNS
    assert reached_limit(Limits(max_turns=None), turns=10**6, tokens_left=None) is None
