"""A sound run of the chaos policy as lines on disk, made without the engine."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from rollway.chaos.checks import Expected, Key
from rollway.chaos.script import (
    WEIGHTS,
    Reply,
    Script,
    expected_rewards,
    logprob_of,
    message_ids,
    prompt_ids,
    question,
)


def sound_run(tasks: int = 12) -> tuple[list[dict[str, Any]], Expected]:
    """A line for each task, and what is expected of them."""
    script = Script(seed=3, failing=0.2)
    turns: dict[Key, list[Reply]] = {}
    seeds: dict[Key, int] = {}
    for number in range(tasks):
        key = (f"{number:06d}", 0)
        seeds[key] = 100 + number
        turns[key] = script.conversation(key[0], partial(int.__add__, seeds[key] * 10))
    keys = {(key[0], seeds[key] * 10 + turn): key for key in turns for turn in range(len(turns[key]))}
    return [_record(key, seeds[key], turns[key]) for key in turns], Expected(turns, seeds, keys)


def _record(key: Key, seed: int, turns: list[Reply]) -> dict[str, Any]:
    rewards = expected_rewards(key[0], turns)
    messages: list[dict[str, Any]] = [{"role": "user", "content": question(key[0])}]
    ids: list[int] = []
    mask: list[int] = []
    turn_index: list[int] = []
    logprobs: list[float] = []
    for number, reply in enumerate(turns):
        prompt, sampled = prompt_ids(messages, None), message_ids(reply.message())
        new = prompt[len(ids) :]
        ids += [*new, *sampled]
        mask += [0] * len(new) + [1] * len(sampled)
        turn_index += [number] * (len(new) + len(sampled))
        logprobs += [0.0] * len(new) + [logprob_of(token) for token in sampled]
        messages.append(reply.message())
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": call.answer or "Error: it failed"}
            for call in reply.calls
        ]
    sequence = {"token_ids": ids, "loss_mask": mask, "turn_index": turn_index, "logprobs": logprobs}
    return {
        "id": f"rollout-{key[0]}",
        "task_id": key[0],
        "seed": seed,
        "messages": messages,
        "turns": [_turn(number, reply) for number, reply in enumerate(turns)],
        "sequences": [sequence],
        "rewards": rewards,
        "reward": math.fsum(WEIGHTS[name] * value for name, value in rewards.items()),
        "stop_reason": "completed",
    }


def _turn(number: int, reply: Reply) -> dict[str, Any]:
    sampled = message_ids(reply.message())
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in reply.calls]
    return {
        "index": number,
        "token_ids": sampled,
        "logprobs": [logprob_of(token) for token in sampled],
        "content": reply.text,
        "tool_calls": calls,
    }
