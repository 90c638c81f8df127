"""What the loop promises, against a scripted server: the record is right however a rollout goes."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted_server import ScriptedServer, error, hang, hang_up, reply

from rollway.agent_loop import AgentLoop, turn_seed
from rollway.inference import ChatClient, Sampling
from rollway.limits import Limits
from rollway.tools import Tool, ToolFailed, ToolOutput, ToolPool, tool
from rollway.trajectory import (
    PromptFit,
    StopReason,
    ToolErrorKind,
    Trajectory,
    decode_trajectory,
    encode_trajectory,
)

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def explode() -> str:
    """Always raise."""
    raise RuntimeError("boom")


@tool
def complain() -> str:
    """Report an error of its own."""
    raise ToolFailed("the database is locked")


@tool
def submit(answer: str) -> ToolOutput:
    """End the rollout."""
    return ToolOutput(f"submitted {answer}", stop=True)


class Bench:
    """A server with a script, a client, a pool, and a loop over them."""

    def __init__(self, server: ScriptedServer, client: ChatClient, pool: ToolPool) -> None:
        self.server, self.client, self.pool = server, client, pool

    def loop(self, *tools: Tool, **options: Any) -> AgentLoop:
        return AgentLoop(self.client, tools=tools or (add,), pool=self.pool, **options)


@asynccontextmanager
async def bench(script: Any) -> AsyncIterator[Bench]:
    async with ScriptedServer(script) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(8) as pool:
                yield Bench(server, client, pool)


async def rolled_out(script: Any, *tools: Tool, **options: Any) -> Trajectory:
    async with bench(script) as it:
        trajectory = await it.loop(*tools, **options).run(QUESTION)
    assert_valid(trajectory)
    return trajectory


def assert_valid(trajectory: Trajectory) -> None:
    """Invariant 2: each call has exactly one tool message, in order, with unique ids; and it is JSON."""
    waiting: list[str] = []
    seen: set[str] = set()
    for message in trajectory.messages:
        if message["role"] == "tool":
            assert waiting, "a tool message without a call"
            assert message["tool_call_id"] == waiting.pop(0)
            continue
        assert not waiting, "a call without a tool message"
        waiting = [call["id"] for call in message.get("tool_calls", ())]
        assert not seen & set(waiting)
        seen |= set(waiting)
    assert not waiting
    for turn in trajectory.turns:
        assert [result.call_id for result in turn.tool_results] == [call.id for call in turn.tool_calls]
    assert decode_trajectory(encode_trajectory(trajectory)) == trajectory


def kinds(trajectory: Trajectory) -> list[ToolErrorKind]:
    return [error.kind for error in trajectory.tool_errors]


def told(trajectory: Trajectory) -> list[str]:
    return [message["content"] for message in trajectory.messages if message["role"] == "tool"]


async def test_a_rollout_calls_a_tool_and_answers() -> None:
    trajectory = await rolled_out(
        [reply(reasoning="hm", tool_calls=[("add", {"a": 2, "b": 3})]), reply("The answer is 5.")]
    )
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert [message["role"] for message in trajectory.messages] == ["user", "assistant", "tool", "assistant"]
    assert told(trajectory) == ["5"]
    assert trajectory.messages[1]["reasoning_content"] == "hm"
    assert trajectory.turns[0].reasoning == "hm"
    assert trajectory.turns[0].parsed_by == "server"
    assert trajectory.turns[1].content == "The answer is 5."
    assert trajectory.tool_errors == []


async def test_all_sampled_tokens_stand_in_one_sequence_when_prompts_extend() -> None:
    trajectory = await rolled_out([reply(tool_calls=[("add", '{"a": 2, "b": 3}')]), reply("5")])
    (sequence,) = trajectory.sequences
    sampled = [token for turn in trajectory.turns for token in turn.token_ids or []]
    trained = [i for i, mask in zip(sequence.token_ids, sequence.loss_mask, strict=True) if mask]
    assert trained == sampled
    assert trajectory.turns[1].prompt_shared > 0


async def test_the_callers_messages_are_not_changed() -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    before = copy.deepcopy(messages)
    async with bench([reply(tool_calls=[("add", {"a": 1, "b": 1})]), reply("2")]) as it:
        await it.loop().run(messages)
    assert messages == before


async def test_calls_of_one_turn_run_at_the_same_time_and_come_back_in_order() -> None:
    barrier = threading.Barrier(2, timeout=10)

    @tool
    def meet(name: str) -> str:
        """Wait for the other call."""
        barrier.wait()
        return name

    trajectory = await rolled_out(
        [reply(tool_calls=[("meet", {"name": "first"}), ("meet", {"name": "second"})]), reply("done")], meet
    )
    assert told(trajectory) == ["first", "second"]


# Calls that the server did not parse


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


async def test_an_unclosed_call_is_no_final_answer() -> None:
    trajectory = await rolled_out([reply('<tool_call>\n{"name": "add", "argum'), reply("5")])
    assert kinds(trajectory) == [ToolErrorKind.PARSE]
    assert len(trajectory.turns) == 2
    assert trajectory.messages[2]["name"] == "rollway"


async def test_a_thought_is_split_from_the_text_in_the_format_asked_for() -> None:
    trajectory = await rolled_out([reply("<think>two and three</think>5")], reasoning_parser="qwen3")
    assert (trajectory.turns[0].reasoning, trajectory.turns[0].content) == ("two and three", "5")


# Calls that fail


@pytest.mark.parametrize("arguments", ["[1]", "null", '"x"', "NaN", "{bad", "3"])
async def test_arguments_that_are_no_object_are_answered_and_recorded(arguments: str) -> None:
    trajectory = await rolled_out([reply(tool_calls=[("add", arguments)]), reply("sorry")])
    assert kinds(trajectory) == [ToolErrorKind.INVALID_ARGUMENTS]
    assert trajectory.tool_errors[0].arguments == arguments
    assert trajectory.turns[0].tool_calls[0].arguments == arguments
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_an_unknown_tool_is_answered_with_the_names_that_exist() -> None:
    trajectory = await rolled_out([reply(tool_calls=[("ad", {"a": 1, "b": 2})]), reply("3")])
    assert kinds(trajectory) == [ToolErrorKind.UNKNOWN_TOOL]
    assert "add" in told(trajectory)[0]


async def test_one_tool_that_raises_leaves_its_siblings_results() -> None:
    script = [reply(tool_calls=[("explode", {}), ("add", {"a": 1, "b": 2}), ("complain", {})]), reply("3")]
    trajectory = await rolled_out(script, explode, add, complain)
    assert kinds(trajectory) == [ToolErrorKind.EXCEPTION, ToolErrorKind.TOOL_REPORTED]
    assert [error.turn for error in trajectory.tool_errors] == [1, 1]
    answers = told(trajectory)
    assert "boom" in answers[0]
    assert answers[1] == "3"
    assert "the database is locked" in answers[2]


async def test_a_hung_tool_is_answered_at_its_deadline() -> None:
    release = threading.Event()

    @tool
    def hang_for_ever() -> str:
        """Never return."""
        release.wait(60)
        return "late"

    try:
        trajectory = await rolled_out(
            [reply(tool_calls=[("hang_for_ever", {})]), reply("gave up")],
            hang_for_ever,
            limits=Limits(tool_timeout=0.05),
        )
    finally:
        release.set()
    assert kinds(trajectory) == [ToolErrorKind.TIMEOUT]
    assert trajectory.stop_reason is StopReason.COMPLETED


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


async def test_a_tool_can_end_the_rollout() -> None:
    trajectory = await rolled_out([reply(tool_calls=[("submit", {"answer": "5"})])], submit)
    assert trajectory.stop_reason is StopReason.TOOL_STOPPED
    assert told(trajectory) == ["submitted 5"]


# Ends


async def test_an_empty_reply_is_no_answer() -> None:
    assert (await rolled_out([reply("")])).stop_reason is StopReason.EMPTY_RESPONSE
    assert (await rolled_out([reply(None, reasoning="hm")])).stop_reason is StopReason.EMPTY_RESPONSE


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


async def test_calls_beyond_the_limit_are_answered_not_run() -> None:
    script = [reply(tool_calls=[("add", {"a": i, "b": 0}) for i in range(3)]), reply("so be it")]
    trajectory = await rolled_out(script, limits=Limits(max_tool_calls=2))
    assert told(trajectory)[:2] == ["0", "1"]
    assert kinds(trajectory) == [ToolErrorKind.NOT_ALLOWED]
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_context_overflow_is_a_stop_reason_of_its_own() -> None:
    message = (
        "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049"
    )
    trajectory = await rolled_out([reply(tool_calls=[("add", {"a": 2, "b": 3})]), error(400, message)])
    assert trajectory.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert trajectory.error is None
    assert len(trajectory.turns) == 1


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


async def test_a_reply_that_the_server_aborted_is_no_completion() -> None:
    trajectory = await rolled_out([reply("half an ans", finish_reason="abort")])
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    assert trajectory.turns[0].content == "half an ans"


async def test_the_environment_can_end_the_rollout_after_a_turns_tools() -> None:
    async with bench([reply(tool_calls=[("add", {"a": 2, "b": 3})])]) as it:
        trajectory = await it.loop().run(
            QUESTION, done=lambda so_far: so_far.messages[-1].get("content") == "5"
        )
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_DONE


async def test_the_wall_clock_ends_a_rollout_and_its_request() -> None:
    async with bench([hang()]) as it:
        trajectory = await it.loop(limits=Limits(timeout=0.2)).run(QUESTION)
        await it.server.until(lambda server: server.running == 0)
    assert trajectory.stop_reason is StopReason.TIMEOUT


async def test_running_out_of_time_is_never_taken_for_a_fault_of_the_server() -> None:
    """The client has the same deadline, and may notice it first."""
    async with bench(lambda request: hang()) as it:
        loop = it.loop(limits=Limits(timeout=0.1))
        trajectories = await asyncio.gather(*(loop.run(QUESTION) for _ in range(100)))
    assert {trajectory.stop_reason for trajectory in trajectories} == {StopReason.TIMEOUT}
    assert all(trajectory.error is None for trajectory in trajectories)


async def cancelled_when(
    it: Bench, loop: AgentLoop, condition: Callable[[], Any], trajectory: Trajectory
) -> None:
    task = asyncio.create_task(loop.run(QUESTION, trajectory=trajectory))
    await condition()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelling_during_a_model_call_keeps_the_record_and_aborts_the_request() -> None:
    trajectory = Trajectory(id="t", messages=[])
    async with bench([reply(tool_calls=[("add", {"a": 2, "b": 3})]), hang()]) as it:
        await cancelled_when(
            it,
            it.loop(),
            lambda: it.server.until(lambda server: len(server.requests) == 2),
            trajectory,
        )
        await it.server.until(lambda server: server.aborted == 1 and server.running == 0)
    assert trajectory.stop_reason is StopReason.CANCELLED
    assert told(trajectory) == ["5"]
    assert len(trajectory.sequences) == 1
    assert_valid(trajectory)


async def test_cancelling_during_tools_leaves_a_valid_conversation() -> None:
    running, release = threading.Event(), threading.Event()

    @tool
    def slow() -> str:
        """Say that it runs, and wait."""
        running.set()
        release.wait(60)
        return "late"

    trajectory = Trajectory(id="t", messages=[])
    script = [reply(tool_calls=[("add", {"a": 2, "b": 3}), ("slow", {})])]
    try:
        async with bench(script) as it:
            both_started = lambda: asyncio.to_thread(running.wait, 10)  # noqa: E731
            await cancelled_when(it, it.loop(add, slow), both_started, trajectory)
    finally:
        release.set()
    assert_valid(trajectory)
    assert trajectory.stop_reason is StopReason.CANCELLED
    assert ToolErrorKind.CANCELLED in kinds(trajectory)


# What is asked of the server


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


async def test_tools_without_a_pool_are_refused_at_once() -> None:
    async with bench([]) as it:
        with pytest.raises(ValueError, match="pool=ToolPool"):
            AgentLoop(it.client, tools=[add])


async def test_a_loop_without_tools_is_one_question_and_one_answer() -> None:
    async with bench([reply("<tool_call> is a tag")]) as it:
        trajectory = await AgentLoop(it.client).run(QUESTION)
        assert "tools" not in it.server.requests[0].body
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_two_hundred_rollouts_share_one_loop_without_mixing() -> None:
    def script(request: Any) -> Any:
        question = request.body["messages"][0]["content"]
        if request.body["messages"][-1]["role"] == "tool":
            return reply(request.body["messages"][-1]["content"])
        return reply(tool_calls=[("add", {"a": int(question), "b": 1})])

    async with bench(script) as it:
        loop = it.loop()
        trajectories = await asyncio.gather(
            *(loop.run([{"role": "user", "content": str(number)}]) for number in range(200))
        )
    assert [json.loads(trajectory.turns[-1].content or "") for trajectory in trajectories] == [
        number + 1 for number in range(200)
    ]


# Prompts that are not what was sampled


@pytest.mark.parametrize(
    ("decode", "fit"),
    [
        (None, PromptFit.FORKED),
        (lambda ids: "".join({1000: "<t"}.get(i, chr(i)) for i in ids), PromptFit.REALIGNED),
    ],
)
async def test_a_prompt_that_splits_the_reply_otherwise_begins_a_sequence_and_says_so(
    decode: Callable[[Any], str] | None, fit: PromptFit
) -> None:
    called = reply(tool_calls=[("add", '{"a": 2, "b": 3}')])
    choice = called["choices"][0]
    sampled = [1000, *choice["token_ids"][2:]]  # "<t" as one token, where the server's prompts have two
    choice["token_ids"], choice["logprobs"]["content"] = sampled, choice["logprobs"]["content"][1:]
    trajectory = await rolled_out([called, reply("5")], decode=decode)
    first, second = trajectory.sequences
    assert [token for token, mask in zip(first.token_ids, first.loss_mask, strict=True) if mask] == sampled
    assert 1000 not in second.token_ids
    assert trajectory.turns[1].prompt_fit is fit
    assert trajectory.metrics[f"turns_{fit.value}"] == 1.0
