"""What becomes of what real servers say: the rows of ``data/server_replies.jsonl``, on every endpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from scripted_server import ScriptedServer, Step
from server_replies import DOCS, rows, written

from rollway.agent_loop import AgentLoop
from rollway.embedded.policy import find_policy
from rollway.inference import ChatClient, OpenAIClient, RetryPolicy, Sampling, TokenClient
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.limits import Limits
from rollway.tools import ToolPool, tool
from rollway.trajectory import StopReason, Trajectory

FAST = RetryPolicy(tries=2, first_delay=0.001, max_delay=0.001, patience=0)
QUESTION = [{"role": "user", "content": "How is Lyon?"}]
TEXT = "It rains in Lyon."
FOLDER = find_policy("calculator")
TOKENIZER = FolderTokenizer(FOLDER)
END = min(TOKENIZER.stop_ids)
CLIENTS = ["chat", "openai"]
ENDPOINTS = ["generate", "completions", "sglang"]


@tool
def look_up(city: str) -> str:
    """Forecast of a city."""
    return f"{city}: rain"


def open_client(via: str, url: str, **options: Any) -> ChatClient | OpenAIClient | TokenClient:
    if via == "chat":
        return ChatClient(url, "m", retry=FAST, **options)
    if via == "openai":
        return OpenAIClient("m", "key", f"{url}/v1", retry=FAST, **options)
    return TokenClient(url, "m", FOLDER, endpoint=via, retry=FAST, **options)  # type: ignore[arg-type]


async def rolled_out(
    replies: Sequence[Any],
    via: str = "chat",
    *,
    limits: Limits | None = None,
    max_tokens: int | None = 64,
    **options: Any,
) -> tuple[Trajectory, list[dict[str, Any]]]:
    """The record, and the requests. The last reply is repeated."""

    def script(request: Any) -> Any:
        step = replies[min(request.index, len(replies) - 1)]
        return step(request.body) if callable(step) else step

    async with ScriptedServer(script, models=["m"]) as server:
        async with open_client(via, server.url, **options) as client:
            with ToolPool(1) as pool:
                sampling = Sampling(max_tokens=max_tokens)
                loop = AgentLoop(
                    client, tools=[look_up], pool=pool, limits=limits, sampling=sampling, tool_parser=None
                )
                trajectory = await loop.run(QUESTION)
    return trajectory, [request.body for request in server.requests]


def chat(message: dict[str, Any], finish: Any = "stop", **top: Any) -> dict[str, Any]:
    said = {"role": "assistant", **message}
    return {
        "id": "r",
        "model": "m",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        **top,
    }


WHOLE = chat({"content": TEXT})


def sampled(via: str, ids: list[int], finish: Any, **choice: Any) -> Any:
    """A reply of ids in the shape of an endpoint."""
    logprobs = [-0.1] * len(ids)
    if via == "generate":
        content = [{"token_id": token, "logprob": -0.1} for token in ids]
        fields = {"token_ids": ids, "finish_reason": finish, "logprobs": {"content": content}, **choice}
        return {"choices": [fields]}
    if via == "completions":
        fields = {"token_ids": ids, "finish_reason": finish, "text": "-", **choice}
        return {"choices": [{**fields, "logprobs": {"token_logprobs": logprobs}}]}
    entries = [[-0.1, token, None] for token in ids]
    reason = None if finish is None else {"type": finish}
    meta = {"finish_reason": reason, "completion_tokens": len(ids), "output_token_logprobs": entries}
    return {"text": "-", "output_ids": ids, "meta_info": meta}


def named(row: dict[str, Any]) -> str:
    return f"{row['server']}: {row['says']}"[:60]


# How a reply ends


@pytest.mark.parametrize("via", [*CLIENTS, *ENDPOINTS])
@pytest.mark.parametrize("row", rows("ending"), ids=named)
async def test_only_a_good_ending_is_a_whole_reply_and_the_text_of_every_other_is_kept(
    row: dict[str, Any], via: str
) -> None:
    if via in CLIENTS:
        reply: Any = chat({"content": TEXT}, row["finish"])
    else:
        reply = sampled(via, TOKENIZER.encode(TEXT), row["finish"])
    options = {"max_resumes": 0} if via in ENDPOINTS else {}
    trajectory, requests = await rolled_out([reply], via, **options)
    assert trajectory.stop_reason == row["stop_reason"]
    assert trajectory.turns[0].content == TEXT
    assert trajectory.turns[0].finish_reason == (row["finish"] or "")
    assert len(requests) == 1


@pytest.mark.parametrize("via", ENDPOINTS)
async def test_a_reply_that_says_no_ending_is_whole_where_its_last_token_ends_one(via: str) -> None:
    trajectory, _ = await rolled_out([sampled(via, [*TOKENIZER.encode(TEXT), END], None)], via)
    assert trajectory.stop_reason is StopReason.COMPLETED


async def test_in_chat_mode_the_models_folder_knows_the_token_that_ends_a_reply() -> None:
    for last, stop_reason in ((END, StopReason.COMPLETED), (5, StopReason.TRUNCATED)):
        reply = chat({"content": TEXT}, None, prompt_token_ids=[1, 2])
        reply["choices"][0] |= {"token_ids": [7, last]}
        trajectory, _ = await rolled_out([reply], folder=FOLDER)
        assert trajectory.stop_reason is stop_reason


@pytest.mark.parametrize("finish", ["length", "quarantined", None, "network_error"])
async def test_calls_of_a_reply_that_is_not_whole_are_not_run(finish: str | None) -> None:
    call = {"id": "c0", "function": {"name": "look_up", "arguments": '{"city": "Lyon"}'}}
    trajectory, _ = await rolled_out([chat({"content": TEXT, "tool_calls": [call]}, finish)])
    assert [result.ok for result in trajectory.turns[0].tool_results] == [False]
    assert trajectory.turns[0].content == TEXT
    assert [error.kind for error in trajectory.tool_errors] == ["cancelled"]


async def test_a_call_that_the_server_speaks_of_and_does_not_give_is_on_record() -> None:
    trajectory, _ = await rolled_out([chat({"content": TEXT}, "tool_calls")])
    (missing,) = trajectory.tool_errors
    assert (missing.kind, missing.tool_result) == ("parse", "")


async def test_an_error_on_the_choice_is_the_servers_by_name_and_the_text_is_kept() -> None:
    for error, kind in (
        ({"code": 502, "message": "upstream died"}, "ServerOverloaded"),
        ("gone", "ServerOverloaded"),
    ):
        reply = chat({"content": TEXT}, "stop")
        reply["choices"][0]["error"] = error
        trajectory, requests = await rolled_out([reply])
        assert trajectory.stop_reason is StopReason.MODEL_ERROR
        assert trajectory.error is not None
        assert trajectory.error.kind == kind
        assert trajectory.turns[0].content == TEXT
        assert len(requests) == 1


async def test_an_overflow_in_the_middle_of_a_reply_is_an_overflow() -> None:
    reply = chat({"content": TEXT}, "error")
    reply["choices"][0]["error"] = {"message": "Context size has been exceeded.", "code": 500}
    trajectory, _ = await rolled_out([reply])
    assert trajectory.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert trajectory.turns[0].content == TEXT


@pytest.mark.parametrize(
    ("message", "status", "ids", "stop_reason", "asked"),
    [
        (
            "Input length (9000 tokens) exceeds the maximum allowed length (4090 tokens).",
            400,
            [],
            "context_overflow",
            1,
        ),
        (
            "Input length (9000 tokens) exceeds the maximum allowed length (4090 tokens).",
            None,
            [],
            "context_overflow",
            1,
        ),
        ("CUDA out of memory", 500, [5], "model_error", 1),
        ("The request queue is full.", 503, [], "model_error", 2),  # as many tries as the policy allows
        ("Invalid grammar request", 400, [], "model_error", 1),
        ("Aborted", None, [5], "model_error", 9),
        (None, None, [5], "model_error", 9),
    ],
)
async def test_an_abort_with_a_reason_is_not_resumed(
    message: str | None, status: int | None, ids: list[int], stop_reason: str, asked: int
) -> None:
    reply = sampled("sglang", ids, "abort")
    reply["text"] = "-" if ids else ""
    reply["meta_info"]["finish_reason"] |= {"message": message, "status_code": status}
    trajectory, requests = await rolled_out([reply], "sglang")
    assert trajectory.stop_reason == stop_reason
    assert len(requests) == asked


# Errors


@pytest.mark.parametrize("via", CLIENTS)
@pytest.mark.parametrize("row", rows("refusal"), ids=named)
async def test_a_refusal_is_read_for_what_it_is(row: dict[str, Any], via: str) -> None:
    trajectory, requests = await rolled_out([Step(row["body"], row["status"]), WHOLE], via)
    assert trajectory.stop_reason == row["stop_reason"]
    assert len(requests) == row["requests"]
    if "asked" in row:
        assert [request.get("max_tokens") for request in requests] == row["asked"]
    if "attempt" in row:
        assert [attempt.error for attempt in trajectory.turns[0].attempts] == [row["attempt"]]
    if "error" in row:
        assert trajectory.error is not None
        assert trajectory.error.kind == row["error"]


@pytest.mark.parametrize("via", [*CLIENTS, *ENDPOINTS])
@pytest.mark.parametrize("row", rows("in_200"), ids=named)
async def test_an_error_inside_a_200_is_that_error_in_the_servers_words(
    row: dict[str, Any], via: str
) -> None:
    whole = WHOLE if via in CLIENTS else sampled(via, [*TOKENIZER.encode(TEXT), END], "stop")
    trajectory, requests = await rolled_out([row["body"], whole], via)
    assert trajectory.stop_reason == row["stop_reason"]
    assert len(requests) == row["requests"]
    if row["error"]:
        assert trajectory.error is not None
        assert trajectory.error.kind == row["error"]
        assert row["said"] in trajectory.error.message


@pytest.mark.parametrize("via", [*CLIENTS, *ENDPOINTS])
@pytest.mark.parametrize("row", rows("cut"), ids=named)
async def test_a_body_that_was_cut_is_tried_again_and_no_other(row: dict[str, Any], via: str) -> None:
    whole = WHOLE if via in CLIENTS else sampled(via, [*TOKENIZER.encode(TEXT), END], "stop")
    trajectory, requests = await rolled_out([row["raw"].encode(), whole], via)
    assert trajectory.stop_reason == row["stop_reason"]
    assert len(requests) == row["requests"]


async def test_a_call_that_the_server_could_not_read_is_counted() -> None:
    said = {"error": {"message": "error parsing tool call: raw='{'", "code": 500}}
    trajectory, _ = await rolled_out([Step(said, 500), WHOLE])
    assert trajectory.metrics["calls_unread_by_server"] == 1.0


# What does not fit

SUM = (
    "This model's maximum context length is 4096 tokens. However, you requested {total} tokens ({prompt} in "
    "the messages, {asked} in the completion)."
)


@pytest.mark.parametrize("via", ENDPOINTS)
async def test_with_ids_too_a_turn_is_asked_again_for_what_is_left_of_the_context(via: str) -> None:
    def refuse(body: dict[str, Any]) -> Step:
        prompt = len(body.get("token_ids") or body.get("prompt") or body.get("input_ids") or ())
        said = (
            f"This model's maximum context length is {prompt + 30} tokens. However, you requested 64 output "
            f"tokens and your prompt contains at least {prompt} input tokens"
        )
        return Step({"error": {"message": said}}, 400)

    whole = sampled(via, [*TOKENIZER.encode(TEXT), END], "stop")
    trajectory, requests = await rolled_out([refuse, whole], via)
    budgets = [request.get("sampling_params", request) for request in requests]
    asked = [budget.get("max_tokens", budget.get("max_new_tokens")) for budget in budgets]
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert asked == [64, 30]
    assert [attempt.error for attempt in trajectory.turns[0].attempts] == ["ContextOverflow"]


@pytest.mark.parametrize("via", CLIENTS)
async def test_what_is_left_is_asked_for_once(via: str) -> None:
    said = SUM.format(total=4144, prompt=4080, asked=64)
    trajectory, requests = await rolled_out([Step({"error": {"message": said}}, 400)], via)
    assert trajectory.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert len(requests) == 2


async def test_a_sum_that_was_never_asked_for_is_no_overflow() -> None:
    said = (
        "This model's maximum context length is 131072 tokens. However, you requested 128000 output tokens "
        "and your prompt contains at least 3073 input tokens, for a total of at least 131073 tokens."
    )
    trajectory, _ = await rolled_out([Step({"error": {"message": said}}, 400)])
    assert trajectory.error is not None
    assert trajectory.error.kind == "BadRequest"
    assert "set sampling.max_tokens lower" in trajectory.error.message


# What the model said


@pytest.mark.parametrize("via", CLIENTS)
@pytest.mark.parametrize("row", rows("shape"), ids=named)
async def test_what_the_model_said_is_read_in_every_shape(row: dict[str, Any], via: str) -> None:
    reply = chat(row["message"], row["finish"], usage=row["usage"])
    trajectory, _ = await rolled_out([reply, WHOLE], via)
    turn = trajectory.turns[0]
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert (turn.reasoning, turn.content) == (row["reasoning"], row["content"])
    assert [(call.name, json.loads(call.arguments)) for call in turn.tool_calls] == [
        (name, json.loads(arguments)) for name, arguments in row["calls"]
    ]
    assert [result.ok for result in turn.tool_results] == [True] * len(row["calls"])


async def test_a_reply_that_stands_wholly_in_its_thought_says_so(caplog: pytest.LogCaptureFixture) -> None:
    trajectory, _ = await rolled_out([chat({"content": None, "reasoning_content": TEXT})])
    assert trajectory.stop_reason is StopReason.EMPTY_RESPONSE
    assert trajectory.turns[0].reasoning == TEXT
    assert "reasoning parser" in trajectory.metadata["empty_response"]
    assert "reasoning parser" in caplog.text


# Token data


def with_token_data(row: dict[str, Any], via: str, prompt: list[int]) -> Step:
    ids, logprobs = row["ids"], row["logprobs"]
    counted = {"prompt_tokens": len(prompt), "completion_tokens": row.get("counted", 3)}
    if via == "sglang":
        entries = (
            None
            if logprobs is None
            else [[value, token, None] for value, token in zip(logprobs, ids or [], strict=False)]
        )
        meta: Any = {**counted, "finish_reason": {"type": "stop"}, "output_token_logprobs": entries}
        body: Any = {"text": TEXT, "output_ids": ids, "meta_info": meta}
    elif via == "completions":
        choice = {"text": TEXT, "token_ids": ids, "finish_reason": "stop"}
        given = None if logprobs is None else {"token_logprobs": logprobs}
        body = {"choices": [{**choice, "logprobs": given}], "usage": counted}
    elif via == "generate":
        content = logprobs and [
            {"token_id": token, "logprob": value} for value, token in zip(logprobs, ids or [], strict=False)
        ]
        choice = {"token_ids": ids, "finish_reason": "stop", "logprobs": {"content": content}}
        body = {"choices": [choice], "usage": counted}
    else:
        body = chat({"content": TEXT}, prompt_token_ids=prompt, usage=counted)
        content = logprobs and [{"token": "x", "logprob": value} for value in logprobs]
        body["choices"][0] |= {"token_ids": ids, "logprobs": {"content": content}}
    return Step(json.dumps(body).replace('"-Infinity"', "-Infinity").encode())


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("via", ["chat", *ENDPOINTS])
@pytest.mark.parametrize("row", rows("token_data"), ids=named)
async def test_token_data_with_a_fault_is_never_trained_on_and_its_turn_says_why(
    row: dict[str, Any], via: str, required: bool
) -> None:
    if via == "sglang" and row["ids"] is None:
        pytest.skip("the ids stand in the logprobs there")

    def answer(body: dict[str, Any]) -> Step:
        prompt = body.get("token_ids") or body.get("prompt") or body.get("input_ids") or [1, 2, 3]
        return with_token_data(row, via, prompt)

    trajectory, _ = await rolled_out([answer], via, require_token_data=required)
    name = row["untrainable"]
    if required and name is not None:
        assert trajectory.error is not None
        assert trajectory.error.kind == "InvalidReply"
        return
    (turn,) = trajectory.turns
    without_text = via == "generate" and not row["ids"]  # the ids are its only text
    assert trajectory.stop_reason is (StopReason.EMPTY_RESPONSE if without_text else StopReason.COMPLETED)
    assert turn.untrainable == name
    assert sum(sum(sequence.loss_mask) for sequence in trajectory.sequences) == (0 if name else 3)
    if name is None:
        assert turn.logprobs == row["logprobs"]


@pytest.mark.parametrize("via", ["chat", *ENDPOINTS])
@pytest.mark.parametrize("how", ["count", "ids"])
async def test_a_prompt_that_the_server_cut_is_an_invalid_reply(via: str, how: str) -> None:
    def answer(body: dict[str, Any]) -> Any:
        prompt = body.get("token_ids") or body.get("prompt") or body.get("input_ids") or list(range(40))
        row = {"ids": [5, 6, 7], "logprobs": [-0.1, -0.2, -0.3]}
        reply = json.loads(with_token_data(row, via, prompt).body)
        counts = reply["meta_info"] if via == "sglang" else reply["usage"]
        holder = reply["choices"][0] if via == "completions" else reply
        if how == "ids" and via in ("completions", "generate"):
            holder["prompt_token_ids"] = prompt[5:]
        else:
            counts["prompt_tokens"] = len(prompt) - 5
        return reply

    trajectory, requests = await rolled_out([answer], via)
    assert trajectory.error is not None
    assert trajectory.error.kind == "InvalidReply"
    assert trajectory.turns == []
    assert len(requests) == 1


@pytest.mark.parametrize("cut", [lambda ids: ids[40:], lambda ids: ids[:60]])
async def test_in_chat_mode_a_prompt_that_was_cut_between_two_turns_is_found_out(cut: Any) -> None:
    prompt = [token * 7 % 101 for token in range(64)]
    call = {"id": "c0", "function": {"name": "look_up", "arguments": '{"city": "Lyon"}'}}
    first = chat({"content": None, "tool_calls": [call]}, "tool_calls", prompt_token_ids=prompt)
    first["choices"][0]["token_ids"] = [5, 6, 7]
    second = chat({"content": TEXT}, prompt_token_ids=cut([*prompt, 5, 6, 7, *range(200, 260)]))
    trajectory, _ = await rolled_out([first, second])
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    assert trajectory.error is not None
    assert trajectory.error.kind == "InvalidReply"
    assert len(trajectory.turns) == 1


def test_the_tables_of_the_docs_are_these_rows() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert written(page) == page, "run tests/server_replies.py"


@pytest.mark.parametrize("via", CLIENTS)
async def test_a_rollouts_budget_may_be_more_than_a_context_holds(via: str) -> None:
    said = SUM.format(total=100_050, prompt=50, asked=100_000)
    steps = [Step({"error": {"message": said}}, 400), WHOLE]
    trajectory, requests = await rolled_out(
        steps, via, limits=Limits(max_completion_tokens=100_000), max_tokens=None
    )
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert [request["max_tokens"] for request in requests] == [100_000, 4046]
