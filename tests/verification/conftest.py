"""Trajectories whose logprobs follow a rule, and servers that know the rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from scripted_server import ScriptedRequest, error

from rollway.sequences import PromptChain, build_sequences, untrainable_reason
from rollway.trajectory import Trajectory, Turn, Usage, VersionSpan

CONTEXT = 64
"""Tokens that the servers' model can hold."""


def logprob_of(context: Sequence[int], token: int) -> float:
    """The rule: any change of the context changes it."""
    mixed = token
    for place, other in enumerate(context):
        mixed = (mixed * 31 + other * (place + 1) + 7) % 997
    return -(mixed + 1) / 500


def make_trajectory(
    steps: Sequence[tuple[list[int], list[int]]],
    *,
    id: str = "one",
    versions: Sequence[str | list[VersionSpan] | None] | None = None,
    task_id: str = "t0",
) -> Trajectory:
    """A trajectory as the loop would record it, from (whole prompt, sampled ids) of each turn."""
    chain = PromptChain()
    trajectory = Trajectory(id=id, task_id=task_id, messages=[])
    for index, (prompt, sampled) in enumerate(steps):
        logprobs = [logprob_of(prompt + sampled[:place], token) for place, token in enumerate(sampled)]
        turn = Turn(index=index, token_ids=sampled, logprobs=logprobs)
        turn.usage = Usage(prompt_tokens=len(prompt), completion_tokens=len(sampled))
        version = versions[index] if versions else None
        if isinstance(version, list):
            turn.weight_versions, turn.weight_version = version, version[-1].version
        else:
            turn.weight_version = version
        chain.add(turn, prompt)
        turn.untrainable = untrainable_reason(turn)
        trajectory.turns.append(turn)
    trajectory.sequences = build_sequences(trajectory.turns)
    return trajectory


def vllm(request: ScriptedRequest) -> Any:
    """``/v1/completions`` as vLLM answers it."""
    if request.path != "/v1/completions":
        return error(404, "Not Found")
    ids = request.body["prompt"]
    assert request.body["prompt_logprobs"] == 0
    if len(ids) + request.body["max_tokens"] > CONTEXT:
        return error(400, f"This model's maximum context length is {CONTEXT} tokens.")
    entries: list[Any] = [None]
    for place in range(1, len(ids)):
        entry = {"logprob": logprob_of(ids[:place], ids[place]), "rank": 1, "decoded_token": "x"}
        entries.append({str(ids[place]): entry})
    choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": entries}
    return {"id": "cmpl-1", "model": "scripted", "choices": [choice]}


def sglang(request: ScriptedRequest) -> Any:
    """``/generate`` as SGLang answers it; its ``/v1/completions`` knows nothing of prompt logprobs."""
    if request.path == "/v1/completions":
        return {"id": "1", "choices": [{"index": 0, "text": "x", "finish_reason": "length"}]}
    ids, start = request.body["input_ids"], request.body["logprob_start_len"]
    assert request.body["sampling_params"]["max_new_tokens"] == 0
    entries = [[logprob_of(ids[:place], ids[place]), ids[place], None] for place in range(start, len(ids))]
    entries[0][0] = None
    return {"text": "", "output_ids": [], "meta_info": {"id": "1", "input_token_logprobs": entries}}


@pytest.fixture
def make() -> Callable[..., Trajectory]:
    return make_trajectory


@pytest.fixture(params=[vllm, sglang], ids=["vllm", "sglang"])
def any_server(request: pytest.FixtureRequest) -> Callable[[ScriptedRequest], Any]:
    return request.param


@pytest.fixture
def vllm_server() -> Callable[[ScriptedRequest], Any]:
    return vllm


@pytest.fixture
def rule() -> Callable[[Sequence[int], int], float]:
    return logprob_of
