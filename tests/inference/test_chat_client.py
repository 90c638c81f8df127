"""The chat client against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from patience import arrived_and_was_aborted, with_time_to_arrive
from scripted_server import ScriptedRequest, ScriptedServer, Step, after, error, hang, hang_up, reply

from rollway.inference import (
    BadRequest,
    ChatClient,
    CompletionRequest,
    ContextOverflow,
    InferenceError,
    InvalidReply,
    ModelNotFound,
    NoReplyInTime,
    RetryPolicy,
    Sampling,
    ServerOverloaded,
    ServerUnreachable,
    Timeouts,
)
from rollway.inference.sampling_fields import NEUTRAL

USER = {"role": "user", "content": "3 + 4?"}
FAST = RetryPolicy(first_delay=0.001)
ONCE = RetryPolicy(tries=1, patience=0)


def ask(**fields: Any) -> CompletionRequest:
    return CompletionRequest(**{"messages": [USER], **fields})


def client(server: ScriptedServer, **options: Any) -> ChatClient:
    return ChatClient(base_url=server.url, **{"model": "scripted", "retry": FAST, **options})


async def failure(script: Any, request: CompletionRequest | None = None, **options: Any) -> InferenceError:
    async with ScriptedServer(script) as server, client(server, **options) as c:
        with pytest.raises(InferenceError) as raised:
            await c.generate(request or ask())
    assert "\n" not in str(raised.value)
    return raised.value


# What is sent and what comes back


async def test_a_request_asks_for_token_data_and_gets_it() -> None:
    async with ScriptedServer([reply("7", token_ids=[5, 6], logprobs=[-1.0, -2.0])]) as server:
        async with client(server, api_key="secret") as c:
            completion = await c.generate(ask(request_id="r1", sampling=Sampling(temperature=0.5)))
        sent = server.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.body == {
        "model": "scripted",
        "messages": [USER],
        **NEUTRAL,
        "temperature": 0.5,
        "logprobs": True,
        "return_token_ids": True,
    }
    assert sent.headers["x-request-id"] == "r1"
    assert sent.headers["authorization"] == "Bearer secret"
    assert sent.headers["content-type"] == "application/json"
    assert (completion.content, completion.token_ids, completion.logprobs) == ("7", [5, 6], [-1.0, -2.0])
    assert completion.server == server.url
    assert completion.timing.total > 0


async def test_token_data_need_not_be_asked_for() -> None:
    async with ScriptedServer([reply("7", token_ids=None)]) as server:
        async with client(server, logprobs=False, return_token_ids=False, require_token_data=True) as c:
            await c.generate(ask())
        assert server.requests[0].body == {"model": "scripted", "messages": [USER], **NEUTRAL}


async def test_malformed_arguments_in_history_do_not_end_the_rollout_and_stay_on_record() -> None:
    """A server as strict as can be: arguments in history must be a JSON object."""

    def strict(request: ScriptedRequest) -> Any:
        for message in request.body["messages"]:
            for call in message.get("tool_calls", ()):
                try:
                    assert isinstance(json.loads(call["function"]["arguments"]), dict)
                except (ValueError, AssertionError):
                    return error(400, "tool call arguments must be a JSON object")
        return reply("7")

    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 3, "b": '}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": "the arguments are no JSON"},
    ]
    before = copy.deepcopy(messages)
    async with ScriptedServer(strict) as server, client(server) as c:
        assert (await c.generate(ask(messages=messages))).content == "7"
        sent = server.requests[0].body["messages"][1]
    assert messages == before
    assert json.loads(sent["tool_calls"][0]["function"]["arguments"]) == {
        "malformed_arguments": '{"a": 3, "b": '
    }
    assert sent["reasoning_content"] == "hm"


async def test_a_weight_version_belongs_to_the_reply_it_came_with() -> None:
    released = asyncio.Event()
    script = [after(released, reply("a", weight_version="old")), reply("b", weight_version="new")]
    async with ScriptedServer(script) as server, client(server) as c:
        first = asyncio.create_task(c.generate(ask()))
        await server.until(lambda s: s.running == 1)
        assert (await c.generate(ask())).weight_version == "new"
        released.set()
        assert (await first).weight_version == "old"


@pytest.mark.parametrize(
    "gap",
    [
        {"logprobs": None},
        {"token_ids": None, "logprobs": [-1.0]},
        {"prompt_token_ids": None},
        {"token_ids": [1, 2, 3], "logprobs": [-1.0]},
    ],
)
async def test_missing_token_data_is_told_once_and_never_made_up(
    gap: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="rollway"):
        async with ScriptedServer(lambda _: reply("7", **gap)) as server, client(server) as c:
            for _ in range(3):
                completion = await c.generate(ask())
                for name, value in gap.items():
                    assert getattr(completion, name) == value
    assert len(caplog.records) == 1
    assert server.url in caplog.text


@pytest.mark.parametrize(
    "gap",
    [
        {"logprobs": None},
        {"token_ids": None, "logprobs": [-1.0]},
        {"prompt_token_ids": None},
        {"token_ids": [1, 2, 3], "logprobs": [-1.0]},
    ],
)
async def test_missing_token_data_is_an_error_where_it_is_required(gap: dict[str, Any]) -> None:
    missing = await failure([reply("7", **gap)], require_token_data=True)
    assert type(missing) is InvalidReply
    assert len(missing.attempts) == 1


async def test_an_empty_generation_lacks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedServer([reply("", token_ids=[], logprobs=None, finish_reason="length")]) as server:
        async with client(server, require_token_data=True) as c:
            completion = await c.generate(ask())
    assert (completion.token_ids, completion.logprobs, completion.content) == ([], None, "")


# Failures and retries


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
async def test_a_busy_server_is_asked_again_and_the_tries_are_on_record(status: int) -> None:
    async with ScriptedServer([error(status, "busy"), error(status, "busy"), reply("7")]) as server:
        async with client(server) as c:
            completion = await c.generate(ask(request_id="r"))
        ids = [request.headers["x-request-id"] for request in server.requests]
    assert [attempt.status for attempt in completion.attempts] == [status, status]
    assert ids == ["r", "r-retry1", "r-retry2"]


async def test_a_server_that_stays_busy_is_asked_exactly_as_often_as_allowed() -> None:
    async with ScriptedServer(lambda _: error(503, "The engine is currently busy")) as server:
        async with client(server, retry=RetryPolicy(tries=3, first_delay=0.001, patience=0)) as c:
            with pytest.raises(ServerOverloaded, match="gave up after 3 tries") as raised:
                await c.generate(ask())
        assert len(server.requests) == 3
    assert len(raised.value.attempts) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
async def test_a_refused_request_is_sent_once(status: int) -> None:
    async with ScriptedServer(lambda _: error(status, "no", headers={"Retry-After": "0"})) as server:
        async with client(server) as c:
            with pytest.raises(BadRequest) as raised:
                await c.generate(ask())
        assert len(server.requests) == 1
    assert (raised.value.status, len(raised.value.attempts)) == (status, 1)


@pytest.mark.parametrize("fault", [hang_up(), hang_up(headers_first=True)])
async def test_a_broken_connection_is_tried_again(fault: Step) -> None:
    async with ScriptedServer([fault, reply("7")]) as server, client(server) as c:
        completion = await c.generate(ask())
    assert [(a.error, a.status) for a in completion.attempts] == [("ServerUnreachable", None)]


async def test_retry_after_is_honoured() -> None:
    script = [error(429, "slow down", headers={"Retry-After": "0.2"}), reply("7")]
    async with ScriptedServer(script) as server, client(server) as c:
        completion = await c.generate(ask())
    assert completion.timing.queued >= 0.2


async def test_a_full_context_is_an_error_of_its_own_and_sent_once() -> None:
    full = await failure([error(400, "max_tokens must be at least 1, got 0.")])
    assert type(full) is ContextOverflow
    assert len(full.attempts) == 1
    flat = error(400, "The input (9 tokens) is longer than the model's context length (8 tokens).", flat=True)
    assert type(await failure([flat])) is ContextOverflow


async def test_asking_for_no_tokens_is_no_full_context() -> None:
    request = ask(sampling=Sampling(extra={"max_tokens": 0}))
    assert type(await failure([error(400, "max_tokens must be at least 1, got 0.")], request)) is BadRequest


async def test_an_unknown_model_names_those_that_are_served() -> None:
    async with ScriptedServer(
        [error(404, "The model `qwen` does not exist.")], models=["qwen3", "tiny"]
    ) as server:
        async with client(server, model="qwen") as c:
            with pytest.raises(
                ModelNotFound, match=r"did you mean 'qwen3'\?\); available: qwen3, tiny"
            ) as raised:
                await c.generate(ask())
    assert len(raised.value.attempts) == 1


async def test_the_list_of_models_is_not_asked_for_when_the_error_has_it() -> None:
    missing = error(404, "The model `qwen` does not exist. Valid aliases: qwen3.")
    async with ScriptedServer([missing]) as server, client(server, model="qwen") as c:
        with pytest.raises(ModelNotFound, match="did you mean 'qwen3'") as raised:
            await c.generate(ask())
        assert server.gets == []
    assert raised.value.served == ["qwen3"]


async def test_the_list_of_models_is_waited_for_no_longer_than_the_deadline() -> None:
    async def attempt(limit: float) -> bool:
        missing = error(404, "The model `qwen` does not exist.")
        async with ScriptedServer([missing], models=hang()) as server, client(server, model="qwen") as c:
            async with asyncio.timeout(limit + 30.0):
                with pytest.raises((ModelNotFound, ServerUnreachable)) as raised:
                    await c.generate(ask(deadline=time.monotonic() + limit))
            assert not server.gets or type(raised.value) is ModelNotFound
            return bool(server.gets)

    await with_time_to_arrive(attempt)


async def test_an_unknown_model_stays_one_when_the_list_cannot_be_had() -> None:
    models = Step({"error": "no"}, 500)
    async with ScriptedServer([error(404, "The model `qwen` does not exist.")], models=models) as server:
        async with client(server, model="qwen") as c:
            with pytest.raises(ModelNotFound, match="does not exist"):
                await c.generate(ask())


@pytest.mark.parametrize("body", [b'{"choices": []}', b"data: {}\n\n"])
async def test_what_is_no_chat_completion_is_invalid_and_not_asked_for_again(body: bytes) -> None:
    invalid = await failure([Step(body), reply("7")])
    assert type(invalid) is InvalidReply
    assert len(invalid.attempts) == 1


async def test_a_redirect_is_told_and_not_followed() -> None:
    async with ScriptedServer([Step(b"", 307, {"Location": "https://elsewhere.example/v1"})]) as server:
        async with client(server) as c:
            with pytest.raises(BadRequest, match=r"https://elsewhere\.example/v1"):
                await c.generate(ask())
        assert len(server.requests) == 1


async def test_no_server_at_the_address_is_one_line_that_helps(refusing_port: int) -> None:
    url = f"http://127.0.0.1:{refusing_port}"
    async with ChatClient(url, "m", retry=RetryPolicy(tries=2, first_delay=0.0, patience=0)) as c:
        with pytest.raises(ServerUnreachable) as raised:
            await c.generate(ask())
    assert str(raised.value) == (
        f"no server at {url} (connection refused); start one with 'rollway serve' or "
        "'vllm serve MODEL', or pass the base_url of a running one (gave up after 2 tries in 0 s)"
    )
    assert [attempt.error for attempt in raised.value.attempts] == ["ServerUnreachable"] * 2


async def test_a_server_that_is_only_starting_is_reached_by_a_later_try(refusing_port: int) -> None:
    url = f"http://127.0.0.1:{refusing_port}"
    async with ChatClient(url, "m") as c:
        pending = asyncio.create_task(c.generate(ask()))
        async with asyncio.timeout(30):
            while c.report().state != "away":
                await asyncio.sleep(0.01)
        async with ScriptedServer([reply("7")], port=refusing_port):
            completion = await pending
    assert completion.content == "7"
    assert {attempt.error for attempt in completion.attempts} == {"ServerUnreachable"}


async def test_tls_on_a_plain_server_is_not_tried_again() -> None:
    async with ScriptedServer([reply("7")]) as server:
        async with ChatClient(server.url.replace("http:", "https:"), "m", retry=FAST) as c:
            with pytest.raises(ServerUnreachable, match="http://") as raised:
                await c.generate(ask())
    assert len(raised.value.attempts) == 1


async def test_a_server_that_speaks_no_http_is_unreachable() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, ChatClient(f"http://127.0.0.1:{port}", "m", retry=FAST) as c:
        with pytest.raises(ServerUnreachable):
            await c.generate(ask())


# Time and cancelling


async def test_a_server_that_hangs_is_given_up_at_the_total_deadline_and_left_with_nothing_running() -> None:
    async def attempt(limit: float) -> bool:
        async with ScriptedServer([hang(), reply("never asked for")]) as server:
            async with client(server, timeouts=Timeouts(total=limit), retry=ONCE) as c:
                with pytest.raises(ServerUnreachable, match=r"timeouts\.total") as raised:
                    await c.generate(ask())
                arrived = await arrived_and_was_aborted(server)
            assert len(server.requests) <= len(raised.value.attempts) == 1
            return arrived

    await with_time_to_arrive(attempt)


@pytest.mark.parametrize(
    ("step", "times", "field"),
    [
        (hang(), lambda limit: Timeouts(first_byte=limit), "first_byte"),
        (hang(headers_first=True), lambda limit: Timeouts(first_byte=20 * limit, total=limit), "total"),
    ],
    ids=["before the first byte", "in the middle"],
)
async def test_a_reply_that_stops_is_given_up_at_the_deadline_of_what_did_not_come(
    step: Step, times: Callable[[float], Timeouts], field: str
) -> None:
    async def attempt(limit: float) -> bool:
        async with ScriptedServer([step]) as server:
            async with client(server, timeouts=times(limit), retry=ONCE) as c:
                with pytest.raises(ServerUnreachable, match=rf"timeouts\.{field}"):
                    await c.generate(ask())
                arrived = bool(server.requests)
                if arrived:
                    await server.until(lambda s: s.aborted == 1)
            return arrived

    await with_time_to_arrive(attempt)


async def test_a_connection_that_does_not_open_is_given_up_at_the_connect_deadline_and_tried_again(
    full_listener: str,
) -> None:
    times = Timeouts(connect=0.1)
    async with ChatClient(
        full_listener, "m", timeouts=times, retry=RetryPolicy(tries=2, first_delay=0.0, patience=0)
    ) as c:
        with pytest.raises(ServerUnreachable, match="timed out connecting") as raised:
            await c.generate(ask())
    assert len(raised.value.attempts) == 2


async def test_the_requests_deadline_bounds_a_try_and_aborts_it_on_the_server() -> None:
    async def attempt(limit: float) -> bool:
        async with ScriptedServer([hang()]) as server, client(server) as c:
            async with asyncio.timeout(limit + 30.0):
                with pytest.raises(NoReplyInTime, match="request's deadline") as raised:
                    await c.generate(ask(deadline=time.monotonic() + limit))
            assert (raised.value.in_reply, raised.value.waiting_for) == (True, None)
            return await arrived_and_was_aborted(server)

    await with_time_to_arrive(attempt)


async def test_the_requests_deadline_bounds_all_tries_together() -> None:
    async with ScriptedServer(lambda _: error(503, "busy", headers={"Retry-After": "30"})) as server:
        async with client(server) as c:
            with pytest.raises(ServerOverloaded):
                await c.generate(ask(deadline=time.monotonic() + 5.0))
        assert len(server.requests) == 1


@pytest.mark.parametrize("step", [hang(), hang(headers_first=True)])
async def test_cancelling_aborts_the_request_on_the_server(step: Step) -> None:
    async with ScriptedServer([step]) as server, client(server) as c:
        task = asyncio.create_task(c.generate(ask()))
        await server.until(lambda s: s.running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda s: s.aborted == 1 and s.running == 0)
        assert len(server.requests) == 1


async def test_cancelling_between_two_tries_sends_nothing_more() -> None:
    async with (
        ScriptedServer([error(503, "busy", headers={"Retry-After": "60"})]) as server,
        client(server) as c,
    ):
        task = asyncio.create_task(c.generate(ask()))
        await server.until(lambda s: s.finished == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (len(server.requests), server.running) == (1, 0)


async def test_a_retried_request_never_runs_beside_its_first_one() -> None:
    script = [hang_up(headers_first=True), error(500, "x"), hang_up(), reply("7")]
    async with ScriptedServer(script) as server, client(server) as c:
        await c.generate(ask())
        assert (len(server.requests), server.peak, server.running) == (4, 1, 0)


async def test_a_cancelled_call_leaves_its_siblings_alone() -> None:
    released = asyncio.Event()
    async with ScriptedServer(lambda _: after(released, reply("7"))) as server, client(server) as c:
        tasks = [asyncio.create_task(c.generate(ask())) for _ in range(8)]
        await server.until(lambda s: s.running == 8)
        for task in tasks[::2]:
            task.cancel()
        await server.until(lambda s: s.aborted == 4)
        released.set()
        assert [(await task).content for task in tasks[1::2]] == ["7"] * 4


# Many at once, and the client's life


@pytest.mark.usefixtures("many_open_files")
async def test_two_thousand_requests_at_once_all_finish_and_run_together() -> None:
    together = asyncio.Event()

    def when_all_are_there(request: ScriptedRequest) -> Step:
        if len(server.requests) == 2000:
            together.set()
        return after(together, reply(str(request.body["seed"]), prompt_token_ids=[1]))

    no_hurry = Timeouts(connect=None)  # the 2,000 connections open at once, however long that takes
    async with ScriptedServer(when_all_are_there) as server, client(server, timeouts=no_hurry) as c:
        replies = await asyncio.gather(*(c.generate(ask(sampling=Sampling(seed=i))) for i in range(2000)))
    assert [completion.content for completion in replies] == [str(i) for i in range(2000)]
    assert server.peak == 2000
    assert not any(completion.attempts for completion in replies)


async def test_requests_beyond_the_connections_wait_their_turn() -> None:
    async with ScriptedServer(lambda _: reply("7")) as server, client(server, max_connections=2) as c:
        await asyncio.gather(*(c.generate(ask()) for _ in range(20)))
    assert server.peak <= 2


async def test_a_large_request_arrives_whole() -> None:
    text = "ü" * (1 << 20)
    async with ScriptedServer([reply("7", prompt_token_ids=[1])]) as server, client(server) as c:
        await c.generate(ask(messages=[{"role": "user", "content": text}]))
        assert server.requests[0].body["messages"][0]["content"] == text


async def test_closing_fails_the_calls_that_run_and_aborts_them() -> None:
    async with ScriptedServer([hang()]) as server:
        c = client(server)
        task = asyncio.create_task(c.generate(ask()))
        await server.until(lambda s: s.running == 1)
        await c.close()
        await c.close()
        with pytest.raises(ServerUnreachable, match="closed"):
            await task
        await server.until(lambda s: s.aborted == 1)
        assert len(server.requests) == 1


async def test_a_closed_client_says_so() -> None:
    c = ChatClient("http://127.0.0.1:9", "m")
    await c.close()
    with pytest.raises(RuntimeError, match="closed"):
        await c.generate(ask())


async def test_a_client_belongs_to_one_event_loop() -> None:
    async with ScriptedServer(lambda _: reply("7")) as server, client(server) as c:
        await c.generate(ask())
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, c.generate(ask()))


async def test_two_clients_in_one_process_share_nothing() -> None:
    async with ScriptedServer([reply("a")]) as one, ScriptedServer([reply("b")]) as two:
        async with client(one, api_key="1") as first, client(two, model="other") as second:
            got = await asyncio.gather(first.generate(ask()), second.generate(ask()))
    assert [completion.content for completion in got] == ["a", "b"]
    assert "authorization" not in two.requests[0].headers
    assert (one.requests[0].body["model"], two.requests[0].body["model"]) == ("scripted", "other")


# check()


async def test_check_adopts_the_only_model_there_is() -> None:
    async with ScriptedServer([reply("7")], models=["tiny"]) as server, client(server, model="") as c:
        await c.check()
        assert c.model == "tiny"
        await c.generate(ask())
        assert server.gets == ["/v1/models"]
        assert server.requests[0].body["model"] == "tiny"


async def test_check_names_the_models_to_choose_from() -> None:
    async with ScriptedServer(models=["a", "b"]) as server, client(server, model="") as c:
        with pytest.raises(ModelNotFound, match="serves 2 models; choose one with model=: a, b"):
            await c.check()


async def test_check_refuses_a_model_that_is_not_served_and_names_the_nearest() -> None:
    async with ScriptedServer(models=["qwen3", "b"]) as server, client(server, model="qwen2") as c:
        with pytest.raises(ModelNotFound, match="did you mean 'qwen3'"):
            await c.check()


@pytest.mark.parametrize(("model", "served"), [("a", "a"), ("llama3", "llama3:latest"), ("x/a:nitro", "x/a")])
async def test_check_accepts_a_model_that_is_served(model: str, served: str) -> None:
    async with ScriptedServer(models=["other", served]) as server, client(server, model=model) as c:
        await c.check()
        assert c.model == model


async def test_check_of_an_absent_server_asks_once(refusing_port: int) -> None:
    async with ChatClient(f"http://127.0.0.1:{refusing_port}", "m", retry=RetryPolicy(tries=50)) as c:
        with pytest.raises(ServerUnreachable, match="connection refused"):
            await c.check()


async def test_check_accepts_a_server_without_a_list_when_a_model_is_named() -> None:
    async with ScriptedServer(models=Step({"detail": "Not Found"}, 404)) as server:
        async with client(server, model="m") as c:
            await c.check()
        async with client(server, model="") as c:
            with pytest.raises(BadRequest, match="base_url"):
                await c.check()


async def test_check_tells_a_web_page_from_a_model_server() -> None:
    async with ScriptedServer(models=Step(b"<html>")) as server, client(server) as c:
        with pytest.raises(InvalidReply, match="not an OpenAI-compatible server"):
            await c.check()


async def test_without_a_model_nothing_is_sent() -> None:
    async with ScriptedServer([reply("7")]) as server, client(server, model="") as c:
        with pytest.raises(BadRequest, match=r"model=.*check\(\)"):
            await c.generate(ask())
        assert server.requests == []
