"""A branch goes on from any turn, and what it shares with its parent is trained on once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import ScriptedRequest, ScriptedServer, error, reply

from rollway import AgentLoop, Limits, Sampling, ToolPool, Trajectory, tool
from rollway.branching import branch
from rollway.inference import ChatClient, Completion, CompletionRequest
from rollway.sequences import PromptChain, build_sequences, whole_prompts
from rollway.trajectory import (
    DroppedToken,
    Parent,
    PromptFit,
    StopReason,
    Turn,
    Untrainable,
    VersionSpan,
    decode_trajectory,
    encode_trajectory,
)

ASKED = [{"role": "user", "content": "What is 1 + 2 + 3?"}]


@tool
def add(a: int, b: int) -> int:
    """Add two integers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def adds_up(request: ScriptedRequest) -> Any:
    """Calls `add` twice and answers; in a conversation of more than two users it answers at once."""
    results = [message for message in request.body["messages"] if message["role"] == "tool"]
    if len(results) < 2:
        return reply(tool_calls=[("add", {"a": 3, "b": 3 if results else 0})])
    return reply(f"It is {results[-1]['content']}.")


async def run(url: str, trajectory: Trajectory | None = None, messages=None, **limits: Any) -> Trajectory:
    start = messages or (ASKED if trajectory is None else trajectory.messages)
    async with ChatClient(url, "scripted") as client:
        with ToolPool(2) as pool:
            loop = AgentLoop(
                client, tools=[add], pool=pool, limits=Limits(**limits), sampling=Sampling(seed=5)
            )
            return await loop.run(start, trajectory=trajectory)


def sampled(trajectory: Trajectory) -> list[tuple[int, ...]]:
    """What is trained on: each run of masked tokens with the whole context before it."""
    found = []
    for sequence in trajectory.sequences:
        pairs = zip(sequence.token_ids, sequence.loss_mask, strict=True)
        found += [tuple(sequence.token_ids[: place + 1]) for place, (_, mask) in enumerate(pairs) if mask]
    return found


@pytest.mark.parametrize("turn", [0, 1, 2])
async def test_a_branch_goes_on_from_any_turn(turn: int) -> None:
    async with ScriptedServer(adds_up) as server:
        parent = await run(server.url)
        before = encode_trajectory(parent)
        child = branch(parent, turn, seed=6)
        assert child.stop_reason is None
        await run(server.url, child)
    assert encode_trajectory(parent) == before
    assert child.id != parent.id
    assert child.parent == Parent(parent.id, turn)
    assert child.stop_reason is StopReason.COMPLETED
    assert [(m["role"], m.get("content")) for m in child.messages] == [
        (m["role"], m.get("content")) for m in parent.messages
    ]
    assert [t.index for t in child.turns] == [0, 1, 2]
    assert list(whole_prompts(child.turns)) == list(whole_prompts(parent.turns))
    reasons = [t.untrainable for t in child.turns]
    assert reasons == [Untrainable.TRAINED_IN_PARENT] * turn + [None] * (3 - turn)
    assert decode_trajectory(encode_trajectory(child)) == child


async def test_shared_tokens_are_trained_on_once() -> None:
    async with ScriptedServer(adds_up) as server:
        parent = await run(server.url)
        children = [await run(server.url, branch(parent, turn, seed=turn)) for turn in (1, 2, 2)]
    own = [sum(len(t.token_ids) for t in child.turns if t.untrainable is None) for child in children]
    assert [len(sampled(child)) for child in children] == own
    assert len(sampled(parent)) == sum(len(t.token_ids) for t in parent.turns)
    first = parent.turns[0].token_ids
    for child in children:  # the shared reply stands in the context, masked
        (sequence,) = child.sequences
        start = len(next(iter(whole_prompts(parent.turns))))
        assert sequence.token_ids[start : start + len(first)] == first
        assert not any(sequence.loss_mask[: start + len(first)])


async def test_a_branch_counts_what_it_shares_towards_the_limits() -> None:
    async with ScriptedServer(adds_up) as server:
        parent = await run(server.url)
        assert (await run(server.url, branch(parent, 1), max_turns=1)).stop_reason is StopReason.MAX_TURNS
        used = len(parent.turns[0].token_ids)
        asked = len(server.requests)
        await run(server.url, branch(parent, 1), max_completion_tokens=used + 7)
        assert server.requests[asked].body["max_tokens"] == 7
        child = await run(server.url, branch(parent, 1), max_tool_calls=1)
    assert child.tool_errors[-1].error.endswith("used up")


async def test_call_ids_stay_unique_in_a_branch() -> None:
    def same_id(request: ScriptedRequest) -> Any:
        call = {
            "id": "call",
            "type": "function",
            "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
        }
        tools = sum(message["role"] == "tool" for message in request.body["messages"])
        return reply(tool_calls=[call]) if tools < 2 else reply("done")

    async with ScriptedServer(same_id) as server:
        parent = await run(server.url)
        child = await run(server.url, branch(parent, 1))
    ids = [call.id for turn in child.turns for call in turn.tool_calls]
    assert ids == ["call", "call_2"]
    json.dumps(child.messages)


async def test_a_whole_conversation_is_gone_on_with_by_another_question() -> None:
    async with ScriptedServer(adds_up) as server:
        parent = await run(server.url)
        child = branch(parent, len(parent.turns))
        with pytest.raises(ValueError, match="start with its own messages"):
            await run(server.url, child, ASKED)
        await run(server.url, child, [*child.messages, {"role": "user", "content": "Sure?"}])
    assert len(child.turns) == 4
    assert child.turns[3].prompt_fit is PromptFit.EXTENDED
    assert [t.untrainable is None for t in child.turns] == [False, False, False, True]
    assert len(sampled(child)) == len(child.turns[3].token_ids)


async def test_a_rollout_that_was_cut_short_is_gone_on_with_in_the_same_sequence() -> None:
    def fails_once(request: ScriptedRequest) -> Any:
        return error(400, "out of order") if request.index == 1 else adds_up(request)

    async with ScriptedServer(fails_once) as server:
        trajectory = await run(server.url)
        assert trajectory.stop_reason is StopReason.MODEL_ERROR
        await run(server.url, trajectory)
    assert (trajectory.stop_reason, trajectory.error) == (StopReason.COMPLETED, None)
    assert [turn.untrainable for turn in trajectory.turns] == [None] * 3
    (sequence,) = trajectory.sequences
    assert sum(sequence.loss_mask) == sum(len(turn.token_ids) for turn in trajectory.turns)


class Recorder:
    """A client that remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[CompletionRequest] = []

    async def generate(self, request: CompletionRequest) -> Completion:
        self.requests.append(request)
        return Completion(
            content="done", finish_reason="stop", prompt_token_ids=[1], token_ids=[2], logprobs=[-1.0]
        )

    async def close(self) -> None:
        pass


async def test_a_client_that_sends_ids_gets_those_of_the_shared_turns() -> None:
    async with ScriptedServer(adds_up) as server:
        parent = await run(server.url)
    client = Recorder()
    child = branch(parent, 2)
    await AgentLoop(client).run(child.messages, trajectory=child)
    prefix = client.requests[0].prefix
    whole = list(whole_prompts(parent.turns))[1] + parent.turns[1].token_ids
    assert prefix.token_ids == whole
    assert prefix.sampled == len(parent.turns[1].token_ids)
    assert child.messages[prefix.messages - 1]["role"] == "assistant"
    assert child.messages[prefix.messages]["role"] == "tool"


def test_a_stop_token_that_was_taken_off_is_back_where_another_message_may_follow() -> None:
    turns = [
        Turn(
            index=0,
            prompt_token_ids=[1],
            token_ids=[2, 3],
            logprobs=[-1.0, -2.0],
            weight_versions=[VersionSpan("a", 0, 2)],
            dropped_stop=DroppedToken(9, -0.5),
        ),
        Turn(index=1, prompt_shared=3, prompt_token_ids=[4], token_ids=[5], logprobs=[-1.0]),
    ]
    messages = [*ASKED, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    parent = Trajectory(id="p", messages=messages, turns=turns)
    last = branch(parent, 1).turns[0]
    assert (last.token_ids, last.logprobs, last.dropped_stop) == ([2, 3, 9], [-1.0, -2.0, -0.5], None)
    assert last.weight_versions == [VersionSpan("a", 0, 3)]
    assert branch(parent, 2).turns[0].token_ids == parent.turns[0].token_ids == [2, 3]


@pytest.mark.parametrize("turn", [-1, 3])
def test_a_turn_that_is_not_there_is_an_error(turn: int) -> None:
    with pytest.raises(ValueError, match="has 0 turns"):
        branch(Trajectory(id="p", messages=ASKED), turn)


def test_messages_that_are_not_the_turns_are_an_error() -> None:
    turn = Turn(index=0, token_ids=[2])
    with pytest.raises(ValueError, match="do not match its turns"):
        branch(Trajectory(id="p", messages=ASKED, turns=[turn]), 1)


small = st.lists(st.integers(0, 3), max_size=4)


@given(st.lists(st.tuples(st.booleans(), small, small), min_size=1, max_size=6), st.data())
def test_parent_and_branch_train_each_token_once_however_prompts_follow(steps, data: st.DataObject) -> None:
    chain, parent = PromptChain(), Trajectory(id="p", messages=list(ASKED))
    for index, (extends, ids, new) in enumerate(steps):
        turn = Turn(index=index, token_ids=new, logprobs=[-1.0] * len(new))
        chain.add(turn, [*chain.token_ids, *ids] if extends else [7, *ids])
        parent.turns.append(turn)
        parent.messages.append({"role": "assistant", "content": "."})
    child = branch(parent, data.draw(st.integers(0, len(steps))))
    own = Turn(index=len(child.turns), token_ids=[8, 9], logprobs=[-1.0, -1.0])
    chain = PromptChain()
    chain.go_on(child.turns)
    chain.add(own, [*chain.token_ids, 6])
    child.turns.append(own)
    assert sum(sum(s.loss_mask) for s in build_sequences(child.turns)) == 2
    assert sum(sum(s.loss_mask) for s in build_sequences(parent.turns)) == sum(len(s) for _, _, s in steps)
