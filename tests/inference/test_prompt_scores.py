"""The logprobs of given tokens, from any server that gives them, and never of other tokens."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, error

from rollway.inference.errors import ContextOverflow, InvalidReply, ServerOverloaded
from rollway.inference.launch import launch_embedded
from rollway.inference.prompt_scores import NoPromptLogprobs, PromptScorer
from rollway.inference.retry import RetryPolicy

QUICK = RetryPolicy(tries=2, first_delay=0.01, patience=0)


def completion(*entries: dict[str, float] | None) -> dict[str, Any]:
    told = [
        entry and {key: {"logprob": value, "rank": 1} for key, value in entry.items()} for entry in entries
    ]
    return {"choices": [{"index": 0, "text": "", "prompt_logprobs": told}]}


def generation(*entries: tuple[float | None, int]) -> dict[str, Any]:
    return {"meta_info": {"input_token_logprobs": [[logprob, token, None] for logprob, token in entries]}}


def only_generate(step: Any) -> Any:
    """An SGLang server, whose OpenAI endpoint leaves prompt logprobs out."""

    def script(request: ScriptedRequest) -> Any:
        if request.path == "/v1/completions":
            return {"choices": [{"index": 0, "text": "x"}]}
        return generation((None, 5), (-1.0, 6)) if len(request.body["input_ids"]) == 2 else step

    return script


async def score(script: Any, ids: list[int], start: int) -> list[float]:
    async with ScriptedServer(script) as server, PromptScorer(server.url, "scripted", retry=QUICK) as scorer:
        return await scorer.score(ids, start)


async def test_vllm_is_asked_for_one_token_and_the_prompts_logprobs() -> None:
    script = [
        completion(None, {"6": -1.0}),
        completion(None, {"6": -1.0}, {"7": -0.5}, {"8": -2.0, "9": -0.1}),
    ]
    async with ScriptedServer(script) as server:
        async with PromptScorer(server.url, "scripted", api_key="secret") as scorer:
            assert await scorer.score([5, 6, 7, 8], 2) == [-0.5, -2.0]
    probe, asked = server.requests
    assert (probe.path, probe.body["prompt"]) == ("/v1/completions", [5, 6])
    assert asked.body == {
        "model": "scripted",
        "prompt": [5, 6, 7, 8],
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,
    }
    assert asked.headers["authorization"] == "Bearer secret"


async def test_sglang_is_asked_from_the_first_wanted_token_on() -> None:
    script = only_generate(generation((None, 7), (-0.25, 8)))
    async with ScriptedServer(script) as server, PromptScorer(server.url, "scripted") as scorer:
        assert await scorer.score([5, 6, 7, 8], 3) == [-0.25]
        assert await scorer.score([5, 6, 7, 8], 3) == [-0.25]
    assert [request.path for request in server.requests] == ["/v1/completions", *["/generate"] * 3]
    body = server.requests[-1].body
    assert (body["input_ids"], body["logprob_start_len"]) == ([5, 6, 7, 8], 2)
    assert body["sampling_params"]["max_new_tokens"] == 0
    assert body["return_logprob"] is True


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (completion(None, {"6": -1.0}), "prompt_logprobs for 2 tokens instead of the 3 sent"),
        (completion(None, {"6": -1.0}, {"9": -1.0}), "a different token at position 2"),
        (completion(None, {"6": -1.0}, None), "a different token at position 2"),
        ({"choices": [{"text": ""}]}, "without the requested prompt_logprobs"),
        ({"choices": []}, "without the requested prompt_logprobs"),
        (b"<html>", "malformed completion"),
    ],
)
async def test_a_reply_about_other_tokens_is_a_fault(step: Any, said: str) -> None:
    with pytest.raises(InvalidReply, match=said):
        await score([completion(None, {"6": -1.0}), step], [5, 6, 7], 2)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (generation((None, 6), (-1.0, 9)), "for different tokens"),
        (generation((-1.0, 6), (None, 7)), "missing input_token_logprobs"),
        (generation(), "for different tokens"),
        ({"meta_info": {}}, "without the requested input_token_logprobs"),
        (b"<html>", "malformed generation"),
    ],
)
async def test_a_generation_about_other_tokens_is_a_fault(step: Any, said: str) -> None:
    with pytest.raises(InvalidReply, match=said):
        await score(only_generate(step), [5, 6, 7], 2)


async def test_a_server_without_prompt_logprobs_is_told_of_with_both_reasons() -> None:
    def script(request: ScriptedRequest) -> Any:
        if request.path == "/generate":
            return error(404, "Not Found")
        return {"choices": [{"index": 0, "text": "x"}]}

    with pytest.raises(
        NoPromptLogprobs, match=r"does not return prompt logprobs.*without the requested prompt_logprobs.*404"
    ):
        await score(script, [5, 6, 7], 2)


async def test_a_busy_server_is_asked_again_and_a_full_context_is_not() -> None:
    probe = completion(None, {"6": -1.0})
    with pytest.raises(ServerOverloaded):
        await score([probe, error(503, "busy"), error(503, "busy")], [5, 6, 7], 2)
    assert await score(
        [probe, error(503, "busy"), completion(None, {"6": -1.0}, {"7": -2.0})], [5, 6, 7], 2
    ) == [-2.0]
    full = error(400, "This model's maximum context length is 2 tokens.")
    with pytest.raises(ContextOverflow):
        await score([probe, full], [5, 6, 7], 2)


def with_top(own: tuple[int, float], *top: tuple[int, float]) -> dict[str, float]:
    """An entry of vLLM's: the token itself first, then the likeliest ones."""
    return {str(token): logprob for token, logprob in dict([own, *top]).items()}


async def test_the_likeliest_tokens_come_in_their_order_with_the_token_among_them_or_not() -> None:
    script = [
        completion(None, with_top((6, -1.0), (9, -0.7))),
        completion(
            None,
            {"6": -1.0},
            with_top((7, -0.9), (9, -0.7), (7, -0.9)),
            with_top((8, -5.0), (4, -0.2), (3, -2.0)),
        ),
    ]
    script[0]["choices"][0]["prompt_logprobs"][1]["3"] = {"logprob": -3.0, "rank": 3}
    async with ScriptedServer(script) as server:
        async with PromptScorer(server.url, "scripted", retry=QUICK, top=2) as scorer:
            first, second = await scorer.score_with_likeliest([5, 6, 7, 8], 2)
    assert [request.body["prompt_logprobs"] for request in server.requests] == [2, 2]
    assert first == (-0.9, [(9, -0.7), (7, -0.9)])
    assert second == (-5.0, [(4, -0.2), (3, -2.0)])


async def test_sglang_is_asked_for_the_likeliest_tokens_too() -> None:
    def script(request: ScriptedRequest) -> Any:
        if request.path == "/v1/completions":
            return {"choices": [{"index": 0, "text": "x"}]}
        ids = request.body["input_ids"]
        answer = generation((None, ids[-2]), (-1.0, ids[-1]))
        assert request.body["top_logprobs_num"] == 2
        answer["meta_info"]["input_top_logprobs"] = [None, [[-0.5, 9, None], [-1.0, ids[-1], None]]]
        return answer

    async with ScriptedServer(script) as server, PromptScorer(server.url, "scripted", top=2) as scorer:
        assert await scorer.score_with_likeliest([5, 6, 7], 2) == [(-1.0, [(9, -0.5), (7, -1.0)])]


@pytest.mark.parametrize("refusal", [error(400, "prompt_logprobs of 20 is greater than 5"), None])
async def test_a_server_without_likeliest_tokens_is_asked_for_none(refusal: Any) -> None:
    def script(request: ScriptedRequest) -> Any:
        if request.body["prompt_logprobs"] and refusal is not None:
            return refusal
        return completion(None, *({str(token): -1.0} for token in request.body["prompt"][1:]))

    async with ScriptedServer(script) as server:
        async with PromptScorer(server.url, "scripted", retry=QUICK, top=20) as scorer:
            assert await scorer.score_with_likeliest([5, 6, 7], 1) == [(-1.0, []), (-1.0, [])]
            assert scorer.top == 0
    assert [request.body["prompt_logprobs"] for request in server.requests] == [20, 0, 0]


async def test_fewer_likeliest_tokens_than_before_are_a_fault() -> None:
    script = [completion(None, {"6": -1.0, "3": -2.0}), completion(None, {"6": -1.0}, {"7": -1.0})]
    async with ScriptedServer(script) as server:
        async with PromptScorer(server.url, "scripted", retry=QUICK, top=2) as scorer:
            with pytest.raises(InvalidReply, match="with the 1 likeliest tokens to a request for 2"):
                await scorer.score([5, 6, 7], 2)


@pytest.mark.parametrize("start", [0, 3, -1])
async def test_a_token_with_nothing_before_it_has_no_logprob(start: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 2"):
        await score([], [5, 6, 7], start)


async def test_the_embedded_server_scores_a_reply_as_it_sampled_it() -> None:
    from rollway.inference import ChatClient, CompletionRequest, Sampling

    request = CompletionRequest(
        messages=[{"role": "user", "content": "What is 2 + 2?"}], sampling=Sampling(temperature=1.0, seed=1)
    )
    async with launch_embedded("calculator") as url:
        async with ChatClient(url, "calculator") as client, PromptScorer(url, "calculator") as scorer:
            reply = await client.generate(request)
            prompt = reply.prompt_token_ids or []
            scores = await scorer.score(prompt + (reply.token_ids or []), len(prompt))
    assert scores == pytest.approx(reply.logprobs, abs=1e-4)  # sums in another order, as some BLAS do
