"""What the loop promises, against a scripted server: the record is finished however a rollout goes."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from loop_bench import QUESTION, Bench, add, assert_valid, bench, kinds, rolled_out, told
from scripted_server import hang, reply

from rollway.agent_loop import AgentLoop
from rollway.inference.protocol import Completion, CompletionRequest
from rollway.limits import Limits
from rollway.tools import tool
from rollway.trajectory import PromptFit, StopReason, ToolErrorKind, Trajectory


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


async def test_the_wall_clock_ends_a_rollout_and_its_request() -> None:
    async with bench([hang()]) as it:
        trajectory = await it.loop(limits=Limits(timeout=0.2)).run(QUESTION)
        await it.server.until(lambda server: server.running == 0)
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    assert trajectory.cut is not None
    assert (trajectory.cut.where, trajectory.cut.clock) == ("model", "timeout")


async def test_a_server_that_never_answers_is_never_a_score() -> None:
    """The client has the same deadline, and may notice it first."""
    async with bench(lambda request: hang()) as it:
        loop = it.loop(limits=Limits(timeout=0.1))
        trajectories = await asyncio.gather(*(loop.run(QUESTION) for _ in range(100)))
    assert {trajectory.stop_reason for trajectory in trajectories} == {StopReason.MODEL_ERROR}
    assert {trajectory.error.kind for trajectory in trajectories if trajectory.error} == {"NoReplyInTime"}
    assert all(trajectory.cut is not None for trajectory in trajectories)
    assert {call.outcome for trajectory in trajectories for call in trajectory.calls} == {"deadline"}


@pytest.mark.parametrize("timeout", [None, 60])
async def test_only_its_own_clock_ends_a_rollout_as_timeout(timeout: float | None) -> None:
    class Impatient:
        async def generate(self, request: CompletionRequest) -> Completion:
            raise TimeoutError("of the client's own, which it should have made an InferenceError")

        async def close(self) -> None: ...

    trajectory = Trajectory(id="t", messages=[])
    with pytest.raises(TimeoutError, match="client's own"):
        await AgentLoop(Impatient(), limits=Limits(timeout=timeout)).run(QUESTION, trajectory=trajectory)
    assert trajectory.stop_reason is None


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
            both_started = lambda: asyncio.to_thread(running.wait, 60)  # noqa: E731
            await cancelled_when(it, it.loop(add, slow), both_started, trajectory)
    finally:
        release.set()
    assert_valid(trajectory)
    assert trajectory.stop_reason is StopReason.CANCELLED
    assert ToolErrorKind.CANCELLED in kinds(trajectory)


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
    called["usage"]["completion_tokens"] = len(sampled)
    trajectory = await rolled_out([called, reply("5")], decode=decode)
    first, second = trajectory.sequences
    assert [token for token, mask in zip(first.token_ids, first.loss_mask, strict=True) if mask] == sampled
    assert 1000 not in second.token_ids
    assert trajectory.turns[1].prompt_fit is fit
    assert trajectory.metrics[f"turns_{fit.value}"] == 1.0
