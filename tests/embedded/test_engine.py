"""Sequences join, leave and share prompts at any step, and none of it shows in their tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.embedded import engine as engine_module
from rollway.embedded.engine import Engine
from rollway.embedded.policy import Policy
from rollway.embedded.sampling import SamplingParams
from rollway.embedded.sequences import GenerationRequest, Output

MakeEngine = Callable[..., Engine]


def request(prompt: Sequence[int], *, stream: bool = False, **changes: Any) -> GenerationRequest:
    values: dict[str, Any] = {"max_tokens": 12, "seed": 1, "logprobs": 0} | changes
    return GenerationRequest("id", list(prompt), SamplingParams(**values), stream=stream)


def prompts(count: int, *, longest: int = 80, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 370, rng.integers(1, longest)).tolist() for _ in range(count)]


def run(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Output]:
    """Run requests together. Their last outputs, in their order."""
    for entry in requests:
        engine.add(entry)
    return drain(engine, requests)


def drain(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Output]:
    found: dict[int, Output] = {}
    while engine.running or engine.waiting:
        for output in engine.step():
            if output.finish_reason is not None:
                found[id(output.request)] = output
    return [found[id(entry)] for entry in requests]


def alone(make_engine: MakeEngine, entry: GenerationRequest) -> Output:
    return run(make_engine(prefix_tokens=0), [entry])[0]


def same(first: Output, second: Output) -> None:
    assert first.token_ids == second.token_ids
    assert first.logprobs == pytest.approx(second.logprobs, abs=1e-4)
    assert (first.text, first.finish_reason) == (second.text, second.finish_reason)


def mixture() -> list[GenerationRequest]:
    """Requests of all lengths and settings, a third of which begin like another."""
    texts = prompts(20)
    texts += [[*text[:50], *tail] for text, tail in zip(texts, prompts(10, longest=9, seed=1), strict=False)]
    return [
        request(
            text,
            seed=index,
            max_tokens=3 + index % 13,
            temperature=(0.0, 0.7, 1.0)[index % 3],
            stop_token_ids=tuple(range(index % 4 * 90, index % 4 * 90 + 40)),
        )
        for index, text in enumerate(texts)
    ]


@pytest.fixture(scope="module")
def one_by_one(policy: Policy) -> list[Output]:
    """The outputs of `mixture`, each computed by itself."""
    outputs = []
    for entry in mixture():
        engine = Engine(policy.model, policy.tokenizer, max_concurrency=1, max_length=512, prefix_tokens=0)
        outputs += run(engine, [entry])
    return outputs


@pytest.mark.parametrize(
    ("concurrency", "prefix_tokens"), [(1, 0), (3, 0), (40, 0), (3, 2000), (40, 2000), (40, 100)]
)
def test_a_batch_gives_what_each_request_gives_alone(
    make_engine: MakeEngine, one_by_one: list[Output], concurrency: int, prefix_tokens: int
) -> None:
    together = run(make_engine(max_concurrency=concurrency, prefix_tokens=prefix_tokens), mixture())
    for output, expected in zip(together, one_by_one, strict=True):
        same(output, expected)


# The same examples each time: in batches of another size some BLAS sum in another order, and then one sampled
# token in 100,000 is another.
@settings(max_examples=25, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("asn"), st.integers(1, 70), st.integers(1, 9)), max_size=20))
def test_joining_and_leaving_at_any_step_changes_nothing(
    make_engine: MakeEngine, events: list[tuple[str, int, int]]
) -> None:
    """a: add a request; s: some steps; n: abort the newest request."""
    engine = make_engine(max_concurrency=4, prefix_tokens=600)
    shared = prompts(1, longest=200, seed=9)[0] * 3
    added: list[GenerationRequest] = []
    outputs: list[Output] = []
    for kind, length, count in events:
        if kind == "a":
            added.append(request(shared[:length], seed=count, max_tokens=count))
            engine.add(added[-1])
        elif kind == "s":
            for _ in range(count):
                outputs += engine.step()
        elif added:
            engine.abort(added[-1])
    while engine.running or engine.waiting:
        outputs += engine.step()
    outputs += engine.step()
    assert len(outputs) == len(added)
    for output in outputs:
        expected = alone(make_engine, output.request)
        if output.finish_reason == "abort":
            assert output.token_ids == expected.token_ids[: len(output.token_ids)]
        else:
            same(output, expected)


def test_a_prompt_longer_than_one_step_may_compute_is_computed_over_several(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*prompts(4, seed=3), prompts(1, longest=400, seed=4)[0] * 2, *prompts(4, seed=5)]
    requests = [request(text[:480], seed=index) for index, text in enumerate(texts)]
    expected = [alone(make_engine, entry) for entry in requests]
    monkeypatch.setattr(engine_module, "PREFILL_TOKENS", 20)
    engine = make_engine(max_concurrency=4)
    for output, other in zip(run(engine, requests), expected, strict=True):
        same(output, other)


def test_requests_with_one_prompt_compute_it_once(make_engine: MakeEngine) -> None:
    prompt = prompts(1, longest=400, seed=2)[0][:100] or [1]
    prompt = (prompt * 100)[:100]
    engine = make_engine()
    outputs = run(engine, [request(prompt, seed=index) for index in range(8)])
    assert [output.cached_tokens for output in outputs] == [0] + [99] * 7
    assert engine.counters.cache_hits == 7 * 99
    assert engine.counters.cache_queries == 800


def test_a_running_sequence_that_was_moved_is_still_found_where_it_is(make_engine: MakeEngine) -> None:
    engine = make_engine(max_concurrency=3)
    first, shared, third = ((text * 60)[:60] for text in prompts(3, seed=6))
    engine.add(request(first, max_tokens=1))
    engine.add(request(shared, max_tokens=100, ignore_eos=True))
    engine.step()  # the first ends, and the second moves into its slot
    engine.add(request(third, max_tokens=100, ignore_eos=True))
    engine.step()
    entry = request([*shared, 5], seed=8)
    engine.add(entry)
    (found,) = [output for output in drain_all(engine) if output.request is entry]
    assert found.cached_tokens == 60
    same(found, alone(make_engine, entry))


def drain_all(engine: Engine) -> list[Output]:
    outputs = []
    while engine.running or engine.waiting:
        outputs += engine.step()
    return outputs


def test_the_next_turn_computes_only_what_is_new(make_engine: MakeEngine) -> None:
    engine = make_engine()
    prompt = prompts(1, longest=400, seed=2)[0]
    first = run(engine, [request(prompt)])[0]
    longer = [*prompt, *first.token_ids, 198, 17]
    second = run(engine, [request(longer, seed=2)])[0]
    # All but the last sampled token, which was never fed back.
    assert second.cached_tokens == len(prompt) + len(first.token_ids) - 1
    same(second, alone(make_engine, request(longer, seed=2)))


def test_seeds_decide_and_samples_of_one_request_differ(make_engine: MakeEngine) -> None:
    prompt = prompts(1)[0]
    engine = make_engine()
    entry = request(prompt, n=4, seed=7)
    engine.add(entry)
    first = collect(engine)
    assert len({tuple(output.token_ids) for output in first}) == 4
    again = make_engine()
    again.add(request(prompt, n=4, seed=7))
    assert [output.token_ids for output in collect(again)] == [output.token_ids for output in first]
    same(first[0], alone(make_engine, request(prompt, seed=7)))


def collect(engine: Engine) -> list[Output]:
    """Final outputs by sample."""
    outputs = []
    while engine.running or engine.waiting:
        outputs += [output for output in engine.step() if output.finish_reason is not None]
    return sorted(outputs, key=lambda output: output.index)


def test_a_stream_has_one_output_for_each_token_and_adds_up(make_engine: MakeEngine) -> None:
    prompt = prompts(1)[0]
    engine = make_engine()
    engine.add(request(prompt, stream=True, logprobs=2))
    pieces = []
    while engine.running or engine.waiting:
        pieces += engine.step()
    whole = alone(make_engine, request(prompt, logprobs=2))
    assert all(len(piece.token_ids) == 1 for piece in pieces)
    assert [token for piece in pieces for token in piece.token_ids] == whole.token_ids
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [entry for piece in pieces for entry in piece.top or []] == whole.top
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish_reason == whole.finish_reason


def test_a_stop_token_ends_the_reply_and_belongs_to_its_ids_but_not_to_its_text(
    make_engine: MakeEngine, policy: Policy
) -> None:
    prompt = prompts(1)[0]
    free = alone(make_engine, request(prompt, ignore_eos=True))
    at = 4
    token = free.token_ids[at]
    end = free.token_ids.index(token)
    output = alone(make_engine, request(prompt, ignore_eos=True, stop_token_ids=(token,)))
    assert output.token_ids == free.token_ids[: end + 1]
    assert (output.finish_reason, output.stop_reason) == ("stop", token)
    shown = policy.tokenizer.decode(free.token_ids[:end], skip_special_tokens=True)
    assert output.text == shown
    watched = alone(make_engine, request(prompt, ignore_eos=True, stop_token_ids=(token,), stop=("\0",)))
    assert watched.text == shown


def test_a_stop_string_ends_the_reply(make_engine: MakeEngine) -> None:
    prompt = prompts(1)[0]
    free = alone(make_engine, request(prompt, ignore_eos=True, max_tokens=40))
    stop = free.text[7:9]
    output = alone(make_engine, request(prompt, ignore_eos=True, max_tokens=40, stop=(stop,)))
    assert output.text == free.text[: free.text.index(stop)]
    assert (output.finish_reason, output.stop_reason) == ("stop", stop)
    assert output.token_ids == free.token_ids[: len(output.token_ids)]


def test_no_end_token_comes_before_the_least_number_of_tokens(make_engine: MakeEngine) -> None:
    prompt = prompts(1)[0]
    free = alone(make_engine, request(prompt, ignore_eos=True))
    ends = tuple(set(free.token_ids[:5]))
    output = alone(make_engine, request(prompt, stop_token_ids=ends, min_tokens=6))
    assert len(output.token_ids) >= 7 or output.finish_reason == "length"
    assert not set(output.token_ids[:6]) & set(ends)


@pytest.mark.parametrize("length", [500, 511])
def test_a_full_context_ends_the_reply_at_length(make_engine: MakeEngine, length: int) -> None:
    prompt = (prompts(1)[0] * 600)[:length]
    output = alone(make_engine, request(prompt, max_tokens=400, ignore_eos=True))
    assert (output.finish_reason, len(output.token_ids)) == ("length", 512 - length)


def test_an_abort_gives_what_was_sampled_and_frees_everything(make_engine: MakeEngine) -> None:
    engine = make_engine(max_concurrency=2)
    entries = [request(text, max_tokens=300, ignore_eos=True, n=2) for text in prompts(3)]
    for entry in entries:
        engine.add(entry)
    for _ in range(5):
        engine.step()
    for entry in entries:
        engine.abort(entry)
    outputs = engine.step()
    assert [output.finish_reason for output in outputs] == ["abort"] * 6
    assert sorted(len(output.token_ids) for output in outputs) == [0, 0, 0, 0, 5, 5]
    assert all(len(output.logprobs or []) == len(output.token_ids) for output in outputs)
    assert (engine.running, engine.waiting, engine.cache_usage) == (0, 0, 0.0)


def test_prompt_logprobs_are_those_of_sampling_the_prompt(make_engine: MakeEngine) -> None:
    prompt = prompts(1)[0][:10]
    engine = make_engine()
    first = run(engine, [request(prompt, max_tokens=20, ignore_eos=True)])[0]
    again = [*prompt, *first.token_ids]
    scores = run(engine, [request(again, prompt_logprobs=3)])[0].prompt_scores
    assert scores is not None
    assert [score.token for score in scores] == again[1:]
    sampled = scores[len(prompt) - 1 :]
    assert [score.logprob for score in sampled] == pytest.approx(first.logprobs, abs=1e-4)
    assert [score.rank for score in sampled] == first.ranks
    assert all(len(score.top) == 3 for score in scores)
