"""A sound run passes; wrong weights, wrong contexts and shifted logprobs do not, and say where they are."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, error

from rollway.evaluation import evaluate, load_config
from rollway.inference.errors import ServerOverloaded
from rollway.inference.prompt_scores import PromptScorer
from rollway.inference.protocol import Sampling
from rollway.inference.retry import RetryPolicy
from rollway.inference.sampling_fields import effective
from rollway.trajectory import DroppedToken, Trajectory, Turn, Untrainable, VersionSpan
from rollway.verification import Bounds, VerificationReport, verify_run, verify_trajectories
from rollway.verification.verify import sampling_notes

STEPS = [
    ([1, 2, 3], [10, 11]),
    ([1, 2, 3, 10, 11, 4], [12, 13, 14]),
    ([1, 2, 3, 4, 5], [15]),
]
BOUNDS = Bounds(largest=1e-6, mean=1e-6)


async def verify(trajectories: list[Trajectory], script, **options) -> VerificationReport:
    retry = RetryPolicy(tries=1, patience=0)
    async with ScriptedServer(script) as server, PromptScorer(server.url, "scripted", retry=retry) as scorer:
        return await verify_trajectories(trajectories, scorer, **({"bounds": BOUNDS} | options))


async def test_a_sound_record_passes_on_any_server(make, any_server) -> None:
    report = await verify([make(STEPS, id="a"), make(STEPS, id="b")], any_server)
    assert report.failures == []
    assert (report.trajectories, report.turns, report.sampled_tokens) == (2, 6, 12)
    assert report.sequence_tokens == report.differences.tokens == 12
    assert report.differences.largest == 0.0
    assert report.turns_by_fit == {"extended": 2, "forked: history_changed": 2}
    assert report.sequences == {"first": 2, "forked": 2}
    assert (report.mismatches, report.unchecked, report.suspect_turns) == ({}, {}, 0)


async def test_each_sequence_is_sent_once(make, vllm_server) -> None:
    async with ScriptedServer(vllm_server) as server, PromptScorer(server.url, "scripted") as scorer:
        await verify_trajectories([make(STEPS), make(STEPS)], scorer)
    prompts = [request.body["prompt"] for request in server.requests]
    sequences = [[1, 2, 3, 10, 11, 4, 12, 13, 14], [1, 2, 3, 4, 5, 15]]
    probes = [prompt for prompt in prompts if len(prompt) == 2]
    assert sorted(prompts, key=str) == sorted(probes + sequences * 2, key=str)


async def test_a_context_that_is_not_the_one_sampled_in_shows_from_the_turns_first_token(
    make, vllm_server
) -> None:
    """The record agrees with itself, but the model had read another tool result (4, not 9)."""
    trajectory = make(STEPS[:2])
    trajectory.turns[1].prompt_token_ids = [9]
    trajectory.sequences[0].token_ids[5] = 9
    report = await verify([trajectory], vllm_server)
    assert report.mismatches == {}
    assert (report.suspect_turns, report.suspect_from_start) == (1, 1)
    assert {token.turn for token in report.worst[:3]} == {1}
    assert report.worst[0].recomputed != report.worst[0].recorded
    assert any("largest difference" in failure for failure in report.failures)


async def test_logprobs_shifted_by_one_are_found(make, vllm_server) -> None:
    trajectory = make(STEPS[:2])
    for values in (trajectory.turns[1].logprobs, trajectory.sequences[0].logprobs):
        values[-3:] = [*values[-2:], values[-3]]
    report = await verify([trajectory], vllm_server)
    assert report.mismatches == {}
    assert report.failures


async def test_a_record_at_odds_with_itself_fails_whatever_the_server_says(make, vllm_server) -> None:
    trajectory = make(STEPS[:2])
    del trajectory.sequences[0].token_ids[-1]
    report = await verify([trajectory], vllm_server)
    assert report.mismatches == {"not_in_one_sequence": 2, "malformed_sequence": 1}
    assert report.mismatched_tokens == 5
    assert report.unchecked == {"malformed_sequence": 5}
    assert report.failures == ["3 context mismatches", "no token was checked"]


async def test_tokens_without_logprobs_are_counted_and_not_guessed(make, vllm_server) -> None:
    trajectory = make(STEPS)
    trajectory.turns[0].logprobs = trajectory.sequences[0].logprobs = None
    report = await verify([trajectory], vllm_server)
    assert report.unchecked == {"no_logprobs": 5}
    assert report.differences.tokens == 1


async def test_turns_that_cannot_be_trained_on_are_counted_by_reason(make, vllm_server) -> None:
    trajectory = make(STEPS[:1])
    reason = Untrainable.NO_PROMPT_TOKEN_IDS
    trajectory.turns.append(Turn(index=1, token_ids=[7, 8], untrainable=reason))
    report = await verify([trajectory], vllm_server)
    assert report.untrainable_turns == {"no_prompt_token_ids": 1}
    assert (report.untrainable_tokens, report.sampled_tokens, report.sequence_tokens) == (2, 4, 2)
    assert report.failures == []


@pytest.mark.parametrize(("length", "left_out"), [(63, 0), (64, 1), (65, 3)])
async def test_a_sequence_that_fills_the_servers_context_is_checked_as_far_as_it_goes(
    make, vllm_server, length: int, left_out: int
) -> None:
    """The model holds 64 tokens; the servers want room for one more than the prompt."""
    prompt = [1] * (length - 3)
    report = await verify([make([(prompt, [5, 6, 7])])], vllm_server)
    assert report.unchecked == ({"context_overflow": left_out} if left_out else {})
    assert report.differences.tokens == 3 - left_out


async def test_versions_are_told_apart_and_can_be_chosen(make, vllm_server) -> None:
    spans = [VersionSpan("a", 0, 1), VersionSpan("a", 1, 2, until="b"), VersionSpan("b", 2, 3)]
    trajectory = make(STEPS, versions=["a", spans, "b"])
    report = await verify([trajectory], vllm_server)
    assert {name: found.tokens for name, found in report.by_version.items()} == {"": 1, "a": 3, "b": 2}
    report = await verify([trajectory], vllm_server, weight_version="b")
    assert report.differences.tokens == 2
    assert report.unchecked == {"other_version": 4}


async def test_a_server_that_stops_answering_ends_it(make) -> None:
    with pytest.raises(ServerOverloaded, match="busy"):
        await verify([make(STEPS)], lambda request: error(503, "busy"))


async def test_bounds_are_held_against_what_was_found(make, vllm_server) -> None:
    trajectory = make(STEPS[:1])
    for values in (trajectory.turns[0].logprobs, trajectory.sequences[0].logprobs):
        values[-1] += 0.5
    exceeded = {
        Bounds(largest=0.4): ["largest difference 0.5 exceeds the limit 0.4"],
        Bounds(mean=0.2): ["mean difference 0.25 exceeds the limit 0.2"],
        Bounds(p99=0.4): ["99th percentile 0.49 exceeds the limit 0.4"],
        Bounds(largest=0.6, mean=0.3, p99=0.6): [],
        Bounds(): [],
    }
    for bounds, failures in exceeded.items():
        assert (await verify([trajectory], vllm_server, bounds=bounds)).failures == failures


def one_likely(request: ScriptedRequest) -> Any:
    """vLLM with a model that is almost sure: of id 7 at every place, then 8."""
    ids, top = request.body["prompt"], request.body["prompt_logprobs"]
    likeliest = {"7": -0.001, "8": -7.0} if top else {}
    entries: list[Any] = [None]
    for id in ids[1:]:
        said = {str(id): -9.0, **likeliest}
        entries.append({name: {"logprob": value} for name, value in said.items()})
    return {"choices": [{"index": 0, "text": "x", "prompt_logprobs": entries}]}


async def test_each_sampled_token_is_tested_once_and_a_stop_that_was_taken_off_where_it_was_sampled(
    make,
) -> None:
    """The stop (7) was sampled where the next prompt goes on with 4."""
    trajectory = make([([1, 2, 3], [7, 7]), ([1, 2, 3, 7, 7, 4], [7, 8])])
    trajectory.turns[0].dropped_stop = DroppedToken(token_id=7, logprob=-0.001)
    async with ScriptedServer(one_likely) as server, PromptScorer(server.url, "m", top=2) as scorer:
        tested = await verify_trajectories([trajectory], scorer, bounds=Bounds(), sampling=Sampling())
        unknown = await verify_trajectories([trajectory], scorer, bounds=Bounds())
        trajectory.sampling = effective(Sampling(repetition_penalty=1.1))
        shaped = await verify_trajectories([trajectory], scorer, bounds=Bounds(), sampling=Sampling())
    assert (tested.drawn.tokens, tested.drawn.untested, tested.drawn.likeliest) == (5, {}, 2)
    beyond_first = {count.cut: count.drawn for count in tested.drawn.cuts}["top_k 1"]
    assert beyond_first == 1
    assert unknown.drawn.untested == {"not on record how they were drawn": 5}
    assert shaped.drawn.untested == {"drawn with repetition_penalty": 5}


async def test_without_likeliest_tokens_nothing_is_tested_and_the_report_says_so(make, vllm_server) -> None:
    report = await verify([make(STEPS)], vllm_server, sampling=Sampling())
    assert report.drawn.untested == {"no likeliest tokens asked for or given": 6}
    assert report.failures == []


def test_what_was_sampled_from_another_distribution_is_said() -> None:
    assert sampling_notes(Sampling(temperature=1.0, top_p=1.0, extra={"skip_special_tokens": False})) == []
    assert sampling_notes(Sampling()) == []
    (note,) = sampling_notes(Sampling(defaults="server"))
    assert "the server's default temperature" in note
    (note,) = sampling_notes(Sampling(temperature=0.7, extra={"min_p": 0.1}))
    assert "temperature=0.7, min_p=0.1" in note


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("runs") / "calculator"
    fields = {"tasks": 20, "samples": 2, "workers": 0, "sampling.temperature": 1.0, "out": str(path)}
    evaluate(load_config("calculator", fields))
    return path


def test_a_run_of_the_embedded_policy_is_what_it_says(run) -> None:
    report = verify_run(run)
    assert report.failures == []
    assert report.trajectories == 40
    assert report.differences.tokens == report.sequence_tokens == report.sampled_tokens > 1000
    assert report.differences.largest < 1e-4


def test_a_run_held_against_other_weights_fails(run) -> None:
    report = verify_run(run, changes={"policy": "calculator-weak", "name": None}, rollouts=5)
    assert report.trajectories == 5
    assert report.suspect_turns > 0
    assert report.differences.kl > 1e-3
    assert len(report.failures) == 2
