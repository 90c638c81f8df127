"""The openai package behind the same protocol: same records, same errors, same one retry layer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from patience import arrived_and_was_aborted, with_time_to_arrive
from scripted_server import ScriptedServer, Step, error, hang, hang_up, reply

from rollway.inference import (
    BadRequest,
    CompletionRequest,
    ContextOverflow,
    InferenceError,
    InvalidReply,
    ModelNotFound,
    OpenAIClient,
    RetryPolicy,
    Sampling,
    ServerOverloaded,
    ServerUnreachable,
    Timeouts,
)

USER = {"role": "user", "content": "3 + 4?"}
ONCE = RetryPolicy(tries=1, patience=0)
FAST = RetryPolicy(tries=3, first_delay=0.001, patience=0)


def ask(**fields: Any) -> CompletionRequest:
    return CompletionRequest(**{"messages": [USER], **fields})


def client(server: ScriptedServer, **options: Any) -> OpenAIClient:
    return OpenAIClient(
        **{"base_url": f"{server.url}/v1", "model": "scripted", "api_key": "k", "retry": FAST, **options}
    )


async def test_a_reply_is_the_same_record_as_the_chat_clients() -> None:
    answer = reply(
        "7", tool_calls=[("add", '{"a": 3')], reasoning="hm", prompt_token_ids=[1], token_ids=[2, 3]
    )
    async with ScriptedServer([answer]) as server, client(server) as c:
        got = await c.generate(ask())
    assert (got.content, got.reasoning, got.finish_reason) == ("7", "hm", "tool_calls")
    assert [(call.name, call.arguments) for call in got.tool_calls] == [("add", '{"a": 3')]
    assert (got.prompt_token_ids, got.token_ids, got.logprobs) == ([1], [2, 3], [-0.1, -0.2])
    assert got.attempts == []


async def test_a_request_is_the_one_that_the_protocol_says() -> None:
    messages = [USER, {"role": "assistant", "content": "7", "reasoning_content": "hm"}]
    sampling = Sampling(temperature=0.0, top_k=5, max_tokens=9, extra={"effort": "low"})
    async with ScriptedServer([reply("7")]) as server, client(server, headers={"X-Team": "t"}) as c:
        await c.generate(
            ask(messages=messages, sampling=sampling, request_id="r1", tools=[{"type": "function"}])
        )
        sent = server.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.body == {
        "model": "scripted",
        "messages": [USER, {"role": "assistant", "content": "7"}],
        "tools": [{"type": "function"}],
        "temperature": 0.0,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_k": 5,
        "max_tokens": 9,
        "effort": "low",
    }
    assert (sent.headers["x-request-id"], sent.headers["authorization"]) == ("r1", "Bearer k")
    assert sent.headers["x-team"] == "t"


@pytest.mark.parametrize(
    "fault", [error(503, "busy"), error(429, "slow"), hang_up(), hang_up(headers_first=True)]
)
async def test_failures_that_may_pass_are_tried_as_often_as_allowed_by_one_layer_only(fault: Step) -> None:
    async with ScriptedServer(lambda _: fault) as server, client(server) as c:
        with pytest.raises((ServerOverloaded, ServerUnreachable)) as raised:
            await c.generate(ask())
        assert len(server.requests) == len(raised.value.attempts) == 3
    assert "\n" not in str(raised.value)


async def test_failed_tries_before_a_reply_are_on_record() -> None:
    async with ScriptedServer([error(503, "busy"), hang_up(), reply("7")]) as server, client(server) as c:
        completion = await c.generate(ask())
    assert [(a.error, a.status) for a in completion.attempts] == [
        ("ServerOverloaded", 503),
        ("ServerUnreachable", None),
    ]


async def test_retry_after_is_honoured() -> None:
    script = [error(429, "slow", headers={"Retry-After": "0.2"}), reply("7")]
    async with ScriptedServer(script) as server, client(server) as c:
        assert (await c.generate(ask())).timing.queued >= 0.2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (error(400, "Too long", code="context_length_exceeded"), ContextOverflow),
        (error(404, "The model `x` does not exist", code="model_not_found"), ModelNotFound),
        (error(401, "Incorrect API key provided"), BadRequest),
        (error(400, "bad temperature"), BadRequest),
        (Step(b'{"choices": []}'), InvalidReply),
    ],
)
async def test_refusals_are_the_same_typed_errors_and_sent_once(
    fault: Step, kind: type[InferenceError]
) -> None:
    async with ScriptedServer(lambda _: fault) as server, client(server) as c:
        with pytest.raises(InferenceError) as raised:
            await c.generate(ask())
        assert len(server.requests) == len(raised.value.attempts) == 1
    assert type(raised.value) is kind
    assert raised.value.status == (None if kind is InvalidReply else fault.status)


async def test_nobody_at_the_address_is_one_line(refusing_port: int) -> None:
    async with OpenAIClient("m", "k", f"http://127.0.0.1:{refusing_port}/v1", retry=FAST) as c:
        with pytest.raises(ServerUnreachable, match="base_url") as raised:
            await c.generate(ask())
        assert len(raised.value.attempts) == 3
        with pytest.raises(ServerUnreachable):
            await c.check()


async def test_a_connection_that_does_not_open_is_tried_again(full_listener: str) -> None:
    async with OpenAIClient("m", "k", full_listener, timeouts=Timeouts(connect=0.1), retry=FAST) as c:
        with pytest.raises(ServerUnreachable, match="timed out connecting") as raised:
            await c.generate(ask())
    assert len(raised.value.attempts) == 3


@pytest.mark.parametrize(
    "times", [lambda limit: Timeouts(total=limit), lambda limit: Timeouts(first_byte=limit)]
)
async def test_a_hanging_provider_is_given_up_and_left_with_nothing_running(
    times: Callable[[float], Timeouts],
) -> None:
    async def attempt(limit: float) -> bool:
        async with ScriptedServer([hang(), reply("never asked for")]) as server:
            async with client(server, timeouts=times(limit), retry=ONCE) as c:
                with pytest.raises(ServerUnreachable, match="timeouts"):
                    await c.generate(ask())
                arrived = await arrived_and_was_aborted(server)
            assert len(server.requests) <= 1
            return arrived

    await with_time_to_arrive(attempt)


async def test_the_requests_deadline_aborts_the_request() -> None:
    async def attempt(limit: float) -> bool:
        async with ScriptedServer([hang()]) as server, client(server) as c:
            with pytest.raises(ServerUnreachable, match="deadline"):
                await c.generate(ask(deadline=time.monotonic() + limit))
            return await arrived_and_was_aborted(server)

    await with_time_to_arrive(attempt)


async def test_cancelling_aborts_the_request() -> None:
    async with ScriptedServer([hang()]) as server, client(server) as c:
        task = asyncio.create_task(c.generate(ask()))
        await server.until(lambda s: s.running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda s: s.aborted == 1 and s.running == 0)


async def test_check_adopts_the_only_model_and_refuses_an_unknown_one() -> None:
    async with ScriptedServer(models=["tiny"]) as server:
        async with client(server, model="") as c:
            await c.check()
            assert c.model == "tiny"
        async with client(server, model="tinny") as c:
            with pytest.raises(ModelNotFound, match="did you mean 'tiny'"):
                await c.check()


async def test_token_data_is_required_only_where_it_is_asked_for() -> None:
    bare = reply("7", token_ids=None)
    async with ScriptedServer([bare, bare]) as server:
        async with client(server, require_token_data=True) as c:
            assert (await c.generate(ask())).token_ids is None
        async with client(server, require_token_data=True, logprobs=True) as c:
            with pytest.raises(InvalidReply, match="logprobs"):
                await c.generate(ask())


async def test_no_key_at_all_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    async with OpenAIClient("m") as c:
        with pytest.raises(BadRequest, match="api_key"):
            await c.generate(ask())


async def test_a_message_that_json_cannot_say_is_refused_before_sending() -> None:
    async with ScriptedServer([reply("7")]) as server, client(server) as c:
        with pytest.raises(BadRequest, match="JSON"):
            await c.generate(ask(messages=[{"role": "user", "content": object()}]))
        assert server.requests == []


async def test_closing_fails_the_calls_that_run() -> None:
    async with ScriptedServer([hang()]) as server:
        c = client(server)
        task = asyncio.create_task(c.generate(ask()))
        await server.until(lambda s: s.running == 1)
        await c.close()
        with pytest.raises(ServerUnreachable):
            await task
        assert len(server.requests) == 1


async def test_a_closed_client_says_so() -> None:
    c = OpenAIClient("m", "k")
    await c.close()
    await c.close()
    with pytest.raises(RuntimeError, match="closed"):
        await c.generate(ask())


async def test_openai_itself_is_asked_for_max_completion_tokens() -> None:
    async with (
        ScriptedServer([reply("7")]) as server,
        client(server, max_tokens_field="max_completion_tokens") as c,
    ):
        await c.generate(ask(sampling=Sampling(max_tokens=3)))
        assert server.requests[0].body["max_completion_tokens"] == 3
