"""What a token client promises, against a scripted server: the ids that it sends, the record of what came."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer, Step, after, error, hang
from template_families import CHATML, DEEPSEEK, GLM, write_folder
from token_script import Sampled, TokenScript, generate_reply, letters, made_up

from rollway.agent_loop import AgentLoop
from rollway.inference import (
    BadRequest,
    CompletionRequest,
    ContextOverflow,
    InvalidReply,
    ModelNotFound,
    RetryPolicy,
    Sampling,
    ServerOverloaded,
    ServerUnreachable,
    TokenClient,
)
from rollway.inference.chat_template import ChatTemplate
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.protocol import PromptPrefix
from rollway.inference.sampling_fields import NEUTRAL
from rollway.inference.token_client import Endpoint
from rollway.limits import Limits
from rollway.tools import ToolPool, tool
from rollway.trajectory import DroppedToken, StopReason, ToolErrorKind, Trajectory, VersionSpan

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
END = "<|im_end|>"
FAST = RetryPolicy(tries=3, first_delay=0.001, max_delay=0.001, patience=0)
GENERATE = "/inference/v1/generate"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(CHATML, tmp_path_factory.mktemp("models") / "chatml")


@pytest.fixture(scope="module")
def tokenizer(chatml: Path) -> FolderTokenizer:
    return FolderTokenizer(chatml)


class Bench:
    """A server that samples what it is told, and a client of it."""

    def __init__(self, server: ScriptedServer, client: TokenClient, script: TokenScript) -> None:
        self.server, self.client, self.script = server, client, script

    async def ask(self, **fields: Any) -> Any:
        return await self.client.generate(CompletionRequest(**{"messages": QUESTION, **fields}))

    async def roll_out(self, **options: Any) -> Trajectory:
        with ToolPool(2) as pool:
            return await AgentLoop(self.client, tools=[add], pool=pool, **options).run(QUESTION)


def model_list(*entries: dict[str, Any]) -> Step:
    return Step({"object": "list", "data": list(entries)})


@asynccontextmanager
async def bench(
    folder: Path,
    entries: Sequence[Any],
    *,
    closed: Sequence[str] = (),
    closed_status: int = 404,
    context: int | None = 2048,
    **options: Any,
) -> AsyncIterator[Bench]:
    script = TokenScript(entries, FolderTokenizer(folder), closed=closed, closed_status=closed_status)
    async with ScriptedServer(script, models=model_list({"id": "m", "max_model_len": context})) as server:
        options = {"endpoint": "generate", "retry": FAST, **options}
        async with TokenClient(server.url, "m", folder, **options) as client:
            yield Bench(server, client, script)


# What is sampled stands in the record


async def test_a_split_that_the_tokenizer_would_not_make_is_kept(
    chatml: Path, tokenizer: FolderTokenizer
) -> None:
    split = [*tokenizer.encode("Pan"), *tokenizer.encode("tom")]
    assert tokenizer.encode("Pantom") != split
    call = [*split, *letters(CHATML.call + END, tokenizer)]
    async with bench(chatml, [Sampled(call), f"5{END}"]) as it:
        trajectory = await it.roll_out()
    assert trajectory.turns[0].token_ids == call
    assert trajectory.turns[0].content == "Pantom"
    assert it.script.prompts[1][: len(it.script.prompts[0]) + len(call)] == it.script.prompts[0] + call
    assert len(trajectory.sequences) == 1


async def test_the_end_token_stands_once_and_its_line_break_has_mask_0(
    chatml: Path, tokenizer: FolderTokenizer
) -> None:
    async with bench(chatml, [CHATML.call + END, f"5{END}"]) as it:
        trajectory = await it.roll_out()
    (sequence,) = trajectory.sequences
    end = tokenizer.encode(END)[0]
    at = len(it.script.prompts[0]) + len(trajectory.turns[0].token_ids or []) - 1
    assert sequence.token_ids[at - 1 : at + 2].count(end) == 1
    assert sequence.token_ids[at] == end
    assert tokenizer.decode([sequence.token_ids[at + 1]]) == "\n"
    assert sequence.loss_mask[at : at + 2] == [1, 0]


async def test_content_leaves_out_the_stop_token_and_no_other_special_token(
    chatml: Path, tokenizer: FolderTokenizer
) -> None:
    async with bench(chatml, [f"a<|im_start|>b<|endoftext|>{END}"]) as it:
        completion = await it.ask()
    assert completion.content == "a<|im_start|>b<|endoftext|>"
    assert completion.token_ids == letters(f"a<|im_start|>b<|endoftext|>{END}", tokenizer)


async def test_a_reply_without_tokens_is_an_empty_response(chatml: Path) -> None:
    async with bench(chatml, [Sampled([])]) as it:
        trajectory = await it.roll_out()
    assert trajectory.stop_reason is StopReason.EMPTY_RESPONSE
    assert trajectory.turns[0].token_ids == []
    assert sum(trajectory.sequences[0].loss_mask) == 0


async def test_a_reply_cut_at_length_has_no_end_token(chatml: Path, tokenizer: FolderTokenizer) -> None:
    cut = letters("It is Pan", tokenizer)
    async with bench(chatml, [Sampled(cut, "length")]) as it:
        trajectory = await it.roll_out()
    assert trajectory.stop_reason is StopReason.TRUNCATED
    assert trajectory.turns[0].content == "It is Pan"
    assert trajectory.sequences[0].token_ids == it.script.prompts[0] + cut


async def test_a_character_split_over_tokens_comes_out_whole(
    chatml: Path, tokenizer: FolderTokenizer
) -> None:
    async with bench(chatml, [f"Grüße, 東京{END}"]) as it:
        completion = await it.ask()
    assert len(completion.token_ids) > len("Grüße, 東京") + 1
    assert completion.content == "Grüße, 東京"


async def test_a_thought_that_the_prompt_opened_is_split_from_the_answer(tmp_path: Path) -> None:
    folder = write_folder(DEEPSEEK, tmp_path / "deepseek")
    async with bench(folder, ["Two and three.\n</think>\nIt is 5.<｜end▁of▁sentence｜>"]) as it:
        trajectory = await it.roll_out(tool_parser=None, reasoning_parser="qwen3")
    assert trajectory.turns[0].reasoning == "Two and three.\n"
    assert trajectory.turns[0].content == "\nIt is 5."


# Stop tokens that open a message


@pytest.fixture(scope="module")
def glm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(GLM, tmp_path_factory.mktemp("models") / "glm")


@pytest.mark.parametrize(
    ("reply", "stop", "dropped"),
    [
        (GLM.call, "<|observation|>", False),  # a result follows
        (GLM.call, "<|user|>", True),
        (GLM.call, "<|endoftext|>", False),  # opens nothing: it stands as sampled
        (
            "\n<think></think>\n<tool_call>add\n<arg_key>a",
            "<|observation|>",
            True,
        ),  # a repair request follows
        ("\n<think></think>\n<tool_call>add\n<arg_key>a", "<|user|>", False),
    ],
)
async def test_a_stop_token_that_opens_another_message_leaves_ids_mask_and_logprobs_together(
    glm: Path, reply: str, stop: str, dropped: bool
) -> None:
    async with bench(glm, [reply + stop, "It is 5.<|user|>"]) as it:
        trajectory = await it.roll_out(tool_parser="glm45", reasoning_parser="glm45")
    tokenizer = FolderTokenizer(glm)
    sampled = letters(reply + stop, tokenizer)
    first = trajectory.turns[0]
    assert first.token_ids == (sampled[:-1] if dropped else sampled)
    assert first.logprobs == made_up(sampled)[: len(first.token_ids)]
    expected = DroppedToken(sampled[-1], made_up(sampled)[-1]) if dropped else None
    assert first.dropped_stop == expected
    (sequence,) = trajectory.sequences
    final = letters("It is 5.<|user|>", tokenizer)
    assert sequence.token_ids == it.script.prompts[1] + final
    assert sum(sequence.loss_mask) == len(first.token_ids) + len(final)
    opening = "<|observation|>" if reply == GLM.call else "<|user|>"
    text = tokenizer.decode(it.script.prompts[1])
    kept = "<|endoftext|>" if stop == "<|endoftext|>" else ""
    following = "\n<tool_response>" if reply == GLM.call else "\nYour reply held"
    assert reply + kept + opening + following in text


async def test_a_token_that_the_request_names_as_a_stop_ends_the_text(chatml: Path) -> None:
    tokenizer = FolderTokenizer(chatml)
    stop = tokenizer.encode("<|im_start|>")[0]
    async with bench(chatml, ["5<|im_start|>"]) as it:
        completion = await it.ask(sampling=Sampling(extra={"stop_token_ids": [stop]}))
    assert completion.content == "5"
    assert it.script.asked[0]["sampling_params"]["stop_token_ids"] == [stop]


@pytest.mark.parametrize(("included", "content"), [(False, "It is 5"), (True, "It is 5. S")])
async def test_a_stop_string_is_cut_from_the_text_and_not_from_the_ids(
    chatml: Path, tokenizer: FolderTokenizer, included: bool, content: str
) -> None:
    ids = letters("It is 5. S", tokenizer)
    extra = {"include_stop_str_in_output": True} if included else {}
    async with bench(chatml, [Sampled(ids, stop_reason=". S")]) as it:
        completion = await it.ask(sampling=Sampling(stop=[". S"], extra=extra))
    assert (completion.content, completion.token_ids) == (content, ids)


# Long rollouts


async def test_128_turns_do_not_drift(chatml: Path, tokenizer: FolderTokenizer) -> None:
    calls = [Sampled(letters(CHATML.call + END, tokenizer))] * 127
    async with bench(chatml, [*calls, f"5{END}"]) as it:
        trajectory = await it.roll_out(limits=Limits(max_turns=200))
    prompts = it.script.prompts
    assert len(prompts) == 128
    for turn, prompt, following in zip(trajectory.turns, prompts, prompts[1:], strict=False):
        assert following[: len(prompt) + len(turn.token_ids or [])] == prompt + (turn.token_ids or [])
    assert trajectory.metrics["turns_extended"] == 127.0
    (sequence,) = trajectory.sequences
    assert sum(sequence.loss_mask) == sum(len(turn.token_ids or []) for turn in trajectory.turns)
    new = [turn.prompt_token_ids for turn in trajectory.turns[1:]]
    assert all(ids == new[0] for ids in new)
    rendered = ChatTemplate(chatml).render(trajectory.messages[:-1], [add.definition()])
    assert tokenizer.decode(prompts[-1]) == rendered


# Aborts


async def test_an_aborted_reply_goes_on_from_what_it_had_as_one_turn(
    chatml: Path, tokenizer: FolderTokenizer
) -> None:
    one, two = letters("It is ", tokenizer), letters(f"5.{END}", tokenizer)
    parts = [Sampled(one, "abort", versions=[("1", 0, 6)]), Sampled(two, versions=[("2", 0, 3)])]
    async with bench(chatml, parts) as it:
        trajectory = await it.roll_out(sampling=Sampling(max_tokens=20, seed=7, extra={"min_tokens": 8}))
    (turn,) = trajectory.turns
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert turn.token_ids == one + two
    assert turn.logprobs == made_up(one + two)
    assert turn.content == "It is 5."
    assert turn.weight_versions == [VersionSpan("1", 0, 6), VersionSpan("2", 6, 9)]
    assert (turn.weight_version, turn.resumes) == ("2", 1)
    assert turn.usage.completion_tokens == 9
    first, second = it.script.asked
    assert second["token_ids"] == first["token_ids"] + one
    assert [ask["sampling_params"]["max_tokens"] for ask in (first, second)] == [20, 14]
    assert [ask["sampling_params"]["min_tokens"] for ask in (first, second)] == [8, 2]
    seeds = [ask["sampling_params"]["seed"] for ask in (first, second)]
    assert seeds[0] != seeds[1]
    ids = [request.headers["x-request-id"] for request in it.server.requests]
    assert len(set(ids)) == 2
    (sequence,) = trajectory.sequences
    assert sequence.weight_versions == ["1"] * (len(first["token_ids"]) + 6) + ["2"] * 3


async def test_an_abort_at_the_end_of_the_budget_is_a_cut(chatml: Path, tokenizer: FolderTokenizer) -> None:
    async with bench(chatml, [Sampled(letters("It is", tokenizer), "abort")]) as it:
        completion = await it.ask(sampling=Sampling(max_tokens=5))
    assert completion.finish_reason == "length"


async def test_a_resumed_reply_that_fills_the_context_is_a_cut(
    chatml: Path, tokenizer: FolderTokenizer
) -> None:
    ids = letters("It is", tokenizer)
    full = error(400, "The decoder prompt (length 64) is longer than the maximum model length of 60.")
    async with bench(chatml, [Sampled(ids, "abort"), full]) as it:
        completion = await it.ask()
    assert (completion.finish_reason, completion.token_ids) == ("length", ids)


async def test_a_server_that_always_aborts_is_given_up(chatml: Path, tokenizer: FolderTokenizer) -> None:
    entries = [Sampled(letters("a", tokenizer), "abort")] * 5
    async with bench(chatml, entries, max_resumes=2) as it:
        trajectory = await it.roll_out()
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    assert trajectory.error is not None
    assert trajectory.error.kind == "ServerAborted"
    assert trajectory.turns[0].content == "aaa"
    assert len(it.script.asked) == 3


# Updates of the weights


async def test_requests_wait_while_paused(chatml: Path) -> None:
    async with bench(chatml, [f"5{END}"]) as it:
        it.client.pause()
        asked = asyncio.create_task(it.ask())
        await asyncio.sleep(0)
        assert not it.server.requests
        it.client.resume()
        assert (await asked).content == "5"


async def test_a_pause_ends_in_a_fault_at_the_deadline(chatml: Path) -> None:
    async with bench(chatml, []) as it:
        it.client.pause()
        with pytest.raises(ServerUnreachable, match=r"held requests to .* until their deadline"):
            await it.ask(deadline=time.monotonic() + 0.02)


async def test_in_flight_rollouts_go_on_over_an_update(chatml: Path, tokenizer: FolderTokenizer) -> None:
    """The server aborts for the update; the turn goes on with the new weights, salt and label."""
    sampling, aborted = asyncio.Event(), asyncio.Event()
    one, two = letters("It is ", tokenizer), letters(f"5.{END}", tokenizer)

    def script(request: Any) -> Any:
        sampled = Sampled(one, "abort") if len(bodies) == 0 else Sampled(two)
        bodies.append(request.body)
        sampling.set()
        step = generate_reply(sampled, request.body)
        return after(aborted, step) if len(bodies) == 1 else step

    bodies: list[Any] = []
    async with ScriptedServer(script) as server:
        client = TokenClient(server.url, "m", chatml, endpoint="generate", weight_version=1, max_resumes=0)
        async with client:
            asked = asyncio.create_task(client.generate(CompletionRequest(messages=QUESTION)))
            await sampling.wait()
            async with client.weight_update(2):
                aborted.set()
                await server.until(lambda it: it.finished == 1)
                await asyncio.sleep(0.01)
                assert len(bodies) == 1
            completion = await asked
    assert completion.token_ids == one + two
    assert completion.weight_versions == [VersionSpan("1", 0, 6), VersionSpan("2", 6, 9)]
    assert [body["cache_salt"] for body in bodies] == ["1", "2"]


@pytest.mark.parametrize("during", [True, False])
async def test_a_reply_over_an_update_without_spans_names_both_ends(
    chatml: Path, tokenizer: FolderTokenizer, during: bool
) -> None:
    release = asyncio.Event()
    sampled = Sampled(letters(f"5{END}", tokenizer))
    async with ScriptedServer(lambda asked: after(release, generate_reply(sampled, asked.body))) as server:
        client = TokenClient(server.url, "m", chatml, endpoint="generate", weight_version="1")
        async with client:
            running = asyncio.create_task(AgentLoop(client).run(QUESTION))
            await server.until(lambda it: it.running == 1)
            async with client.weight_update("2"):
                if during:
                    release.set()
                    await running
            release.set()
            trajectory = await running
    (turn,) = trajectory.turns
    assert turn.weight_versions == [VersionSpan("1", 0, 2, until="2")]
    assert trajectory.metrics["turns_version_uncertain"] == 1.0
    versions = trajectory.sequences[0].weight_versions
    assert versions is not None
    assert set(versions) == {None}


async def test_an_update_that_fails_leaves_the_version_and_lets_requests_go_on(chatml: Path) -> None:
    async with bench(chatml, [f"5{END}"], weight_version=1) as it:
        with pytest.raises(RuntimeError, match="no disk"):
            async with it.client.weight_update(2):
                raise RuntimeError("no disk")
        completion = await it.ask()
    assert completion.weight_versions == [VersionSpan("1", 0, 2)]


async def test_a_retry_waits_for_the_end_of_an_update(chatml: Path) -> None:
    failed = asyncio.Event()
    busy = after(failed, error(503, "busy"))
    async with bench(chatml, [busy, f"5{END}"], weight_version=1) as it:
        asked = asyncio.create_task(it.ask())
        await it.server.until(lambda server: server.running == 1)
        async with it.client.weight_update(2):
            failed.set()
            await it.server.until(lambda server: server.finished == 1)
            await asyncio.sleep(0.02)
            assert len(it.script.asked) == 1
        completion = await asked
    assert completion.weight_versions == [VersionSpan("2", 0, 2)]
    assert it.script.asked[1]["cache_salt"] == "2"


# Finding out about the server


@pytest.mark.parametrize(
    ("closed", "path"),
    [
        ((), GENERATE),
        ((GENERATE,), "/generate"),
        ((GENERATE, "/generate"), "/completion"),
        ((GENERATE, "/generate", "/completion"), "/v1/completions"),
    ],
)
@pytest.mark.parametrize("status", [403, 404])
async def test_the_first_open_endpoint_is_used(
    chatml: Path, closed: list[str], path: str, status: int
) -> None:
    async with bench(chatml, [f"5{END}"] * 2, closed=closed, closed_status=status, endpoint="auto") as it:
        both = await asyncio.gather(it.ask(), it.ask())
    assert [completion.content for completion in both] == ["5", "5"]
    assert [request.path for request in it.server.requests if request.body != {}] == [path, path]
    assert sum(request.body == {} for request in it.server.requests) == min(len(closed) + 1, 3)
    for completion in both:
        assert completion.prompt_token_ids == it.script.prompts[0]
        assert len(completion.logprobs) == len(completion.token_ids) == 2


async def test_a_server_with_no_such_endpoint_is_told_apart(chatml: Path) -> None:
    closed = (GENERATE, "/generate", "/completion", "/v1/completions")
    async with bench(chatml, [], closed=closed, endpoint="auto") as it:
        with pytest.raises(BadRequest, match="no such endpoint"):
            await it.ask()


async def test_finding_out_is_tried_again_when_the_server_is_busy(chatml: Path) -> None:
    answers = iter([error(503, "busy"), error(503, "busy")])
    script = TokenScript([f"5{END}"], FolderTokenizer(chatml))
    async with ScriptedServer(lambda request: next(answers, None) or script(request)) as server:
        async with TokenClient(server.url, "m", chatml, retry=FAST) as client:
            completion = await client.generate(CompletionRequest(messages=QUESTION))
    assert [attempt.status for attempt in completion.attempts] == [503, 503]


async def test_a_refused_key_is_told_at_the_check(chatml: Path) -> None:
    async with ScriptedServer(lambda request: error(401, "Unauthorized")) as server:
        async with TokenClient(server.url, "m", chatml) as client:
            with pytest.raises(BadRequest, match="api_key"):
                await client.check()


async def test_model_and_folder_come_from_the_server(chatml: Path) -> None:
    script = TokenScript([f"5{END}"], FolderTokenizer(chatml))
    async with ScriptedServer(script, models=model_list({"id": "it", "root": str(chatml)})) as server:
        async with TokenClient(server.url) as client:
            report = await client.check()
            assert (client.model, client.folder) == ("it", chatml)
            assert report.verdict == "extends"
            completion = await client.generate(CompletionRequest(messages=QUESTION))
    assert completion.content == "5"


async def test_a_folder_of_another_model_is_noticed_at_the_check(
    chatml: Path, tokenizer: FolderTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(chatml, []) as it:
        it.script.tokenized = tokenizer.encode(ChatTemplate(chatml).render(QUESTION))
        await it.client.check()
        assert not caplog.records
        it.script.tokenized = [1, 2, 3]
        await it.client.check()
    (record,) = caplog.records
    assert "check that this is the folder of the served model" in record.getMessage()
    assert str(chatml) in record.getMessage()


@pytest.mark.parametrize("root", [None, "someone/a-model"])
async def test_a_folder_that_is_not_here_is_asked_for(root: str | None) -> None:
    async with ScriptedServer([], models=model_list({"id": "it", "root": root})) as server:
        async with TokenClient(server.url) as client:
            with pytest.raises(BadRequest, match="pass folder=") as caught:
                await client.check()
    if root:
        assert root in str(caught.value)


async def test_a_model_that_is_not_served_is_told_with_those_that_are(chatml: Path) -> None:
    async with ScriptedServer([], models=["other"]) as server:
        async with TokenClient(server.url, "mine") as client:
            with pytest.raises(ModelNotFound, match="other"):
                await client.check()


async def test_a_folder_without_a_template_is_told_in_one_line(tmp_path: Path) -> None:
    folder = write_folder(CHATML, tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    async with bench(folder, []) as it:
        with pytest.raises(BadRequest, match="has no chat_template"):
            await it.client.check()
        trajectory = await it.roll_out()
    assert trajectory.stop_reason is StopReason.MODEL_ERROR


def test_an_unknown_endpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="endpoint must be auto, generate, sglang, llama, completions"):
        TokenClient("http://127.0.0.1:1", endpoint="vllm")  # type: ignore[arg-type]


# What is sent


async def test_sampling_goes_where_generate_looks_for_it(chatml: Path) -> None:
    sampling = Sampling(
        temperature=0.7,
        top_p=0.9,
        top_k=5,
        max_tokens=9,
        stop=["x"],
        seed=3,
        extra={"min_p": 0.1, "priority": 2},
    )
    async with bench(chatml, [f"5{END}"], weight_version=4) as it:
        await it.ask(sampling=sampling, request_id="r1")
    (request,) = it.server.requests
    assert request.headers["x-request-id"] == "r1"
    body = dict(request.body)
    assert body.pop("token_ids") == it.script.prompts[0]
    assert body == {
        "model": "m",
        "cache_salt": "4",
        "priority": 2,
        "sampling_params": {
            "logprobs": 0,
            **NEUTRAL,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 5,
            "max_tokens": 9,
            "stop": ["x"],
            "seed": 3,
            "min_p": 0.1,
        },
    }


async def test_sampling_goes_where_sglang_looks_for_it(chatml: Path) -> None:
    sampling = Sampling(temperature=0.7, max_tokens=9, seed=3, extra={"min_p": 0.1})
    async with bench(chatml, [f"5{END}"] * 2, endpoint="sglang", weight_version=4) as it:
        await it.ask(sampling=sampling, request_id="r1")
        await it.ask()
    first, second = it.script.asked
    assert first["rid"] == "r1"
    assert first["extra_key"] == "4"
    assert (first["return_logprob"], first["stream"]) == (True, False)
    assert first["sampling_params"] == {
        **NEUTRAL,
        "temperature": 0.7,
        "max_new_tokens": 9,
        "sampling_seed": 3,
        "min_p": 0.1,
    }
    assert second["sampling_params"] == {
        **NEUTRAL,
        "max_new_tokens": None,
    }  # not 128
    assert "rid" not in second


@pytest.mark.parametrize("endpoint", ["generate", "sglang", "completions"])
async def test_a_server_that_is_to_choose_is_sent_what_is_said_and_no_more(
    chatml: Path, endpoint: Endpoint
) -> None:
    async with bench(chatml, [f"5{END}"] * 2, endpoint=endpoint) as it:
        await it.ask(sampling=Sampling(top_k=3, defaults="server"))
        await it.ask(sampling=Sampling(top_k=3))
    left, said = (body if endpoint == "completions" else body["sampling_params"] for body in it.script.asked)
    assert {name: left[name] for name in NEUTRAL if name in left} == {"top_k": 3}
    assert {name: said[name] for name in NEUTRAL} == {**NEUTRAL, "top_k": 3}


async def test_completions_are_asked_for_the_rest_of_the_context(chatml: Path) -> None:
    """vLLM takes no max_tokens, and null too, for 16."""
    async with bench(chatml, [f"5{END}"] * 2, endpoint="completions", context=100) as it:
        await it.ask()
        await it.ask(sampling=Sampling(max_tokens=7))
    first, second = it.script.asked
    assert first["max_tokens"] == 100 - len(first["prompt"])
    assert second["max_tokens"] == 7
    assert (first["logprobs"], first["return_token_ids"]) == (0, True)


async def test_completions_of_an_unknown_context_need_a_budget(chatml: Path) -> None:
    async with bench(chatml, [f"5{END}"], endpoint="completions", context=None) as it:
        with pytest.raises(BadRequest, match=r"set sampling\.max_tokens"):
            await it.ask()
        assert (await it.ask(sampling=Sampling(max_tokens=7))).content == "5"


async def test_template_variables_come_from_the_client_and_from_the_request(tmp_path: Path) -> None:
    folder = write_folder(CHATML, tmp_path / "m")
    template = "{{ messages[0].content }}:{{ mood }}:{{ pace }}<|im_end|>"
    (folder / "chat_template.jinja").write_text(template)
    async with bench(folder, [f"5{END}"], template_variables={"mood": "calm", "pace": "slow"}) as it:
        await it.ask(sampling=Sampling(extra={"chat_template_kwargs": {"pace": "fast"}}))
    assert FolderTokenizer(folder).decode(it.script.prompts[0]) == "What is 2 + 3?:calm:fast<|im_end|>"
    assert "chat_template_kwargs" not in json.dumps(it.script.asked)


@pytest.mark.parametrize("name", ["tool_choice", "response_format"])
async def test_a_field_that_only_chat_endpoints_know_is_refused(chatml: Path, name: str) -> None:
    async with bench(chatml, []) as it:
        with pytest.raises(BadRequest, match=name):
            await it.ask(sampling=Sampling(extra={name: "auto"}))
    assert not it.server.requests


async def test_a_conversation_that_the_template_refuses_is_a_bad_request(tmp_path: Path) -> None:
    folder = write_folder(CHATML, tmp_path / "m")
    source = (folder / "chat_template.jinja").read_text()
    refusal = "{% if 'rude' in messages[0].content %}{{ raise_exception('be kind') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refusal + source)
    async with bench(folder, []) as it:
        with pytest.raises(BadRequest, match="refuses the conversation: be kind"):
            await it.ask(messages=[{"role": "user", "content": "rude"}])


async def test_a_prefix_of_more_messages_than_there_are_is_a_mistake(chatml: Path) -> None:
    async with bench(chatml, []) as it:
        with pytest.raises(ValueError, match="covers 5 messages, but the request has 1"):
            await it.ask(prefix=PromptPrefix([1], 1, 5))


# What comes back


async def test_sglang_names_one_version_or_spans(chatml: Path, tokenizer: FolderTokenizer) -> None:
    ids = letters(f"5{END}", tokenizer)
    replies = [
        Sampled(ids, version="3"),
        Sampled(ids, version="4", versions=[("3", 0, 1), ("4", 1, 2)]),
        Sampled(ids, version="5"),
    ]
    async with bench(chatml, replies, endpoint="sglang") as it:
        one, two = await it.ask(), await it.ask()
        async with it.client.weight_update(4):
            pass
        three = await it.ask()
    assert (one.weight_version, one.weight_versions) == ("3", [VersionSpan("3", 0, 2)])
    assert two.weight_versions == [VersionSpan("3", 0, 1), VersionSpan("4", 1, 2)]
    assert three.weight_versions == [VersionSpan("4", 0, 2, until="5")]
    assert one.usage.cached_tokens == 3
    assert one.finish_reason == "stop"


def bad(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def made(body: dict[str, Any]) -> dict[str, Any]:
        reply = generate_reply(Sampled([5, 6], versions=[("1", 0, 2)]), body)
        change(reply["choices"][0])
        return reply

    return made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda choice: choice["logprobs"]["content"][1].update(token_id=9),
            "logprobs do not match its sampled ids",
        ),
        (lambda choice: choice["logprobs"]["content"].pop(), "2 token ids but 1 logprobs"),
        (lambda choice: choice.update(logprobs=None), "without the requested logprobs"),
        (lambda choice: choice.update(token_ids=None), "without token_ids"),
        (lambda choice: choice["weight_versions"][0].update(end=1), "cover 1 tokens, but 2 were sampled"),
        (lambda choice: choice["weight_versions"][0].update(start=1), "not consecutive"),
        (lambda choice: choice.update(token_ids=["5"]), "no usable reply with token ids"),
    ],
)
async def test_a_reply_that_contradicts_itself_is_never_trained_on(
    chatml: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    make = bad(change)
    async with ScriptedServer(lambda request: make(request.body)) as server:
        async with TokenClient(server.url, "m", chatml, endpoint="generate", retry=FAST) as client:
            with pytest.raises(InvalidReply, match=said):
                await client.generate(CompletionRequest(messages=QUESTION))
        assert len(server.requests) == 1


async def test_a_null_logprob_is_no_logprob(chatml: Path) -> None:
    async with bench(chatml, [Sampled([5, 6], logprobs=[None, -1.0])], endpoint="completions") as it:  # type: ignore[list-item]
        with pytest.raises(InvalidReply, match="a logprob that is null"):
            await it.ask()


async def test_a_server_that_reads_another_prompt_is_found_out(chatml: Path) -> None:
    def script(request: Any) -> Any:
        choice = {"token_ids": [5], "prompt_token_ids": [1, *request.body["prompt"]], "finish_reason": "stop"}
        return {"choices": [{**choice, "logprobs": {"token_logprobs": [-1.0]}}]}

    async with ScriptedServer(script) as server:
        async with TokenClient(server.url, "scripted", chatml, endpoint="completions") as client:
            request = CompletionRequest(messages=QUESTION, sampling=Sampling(max_tokens=7))
            with pytest.raises(InvalidReply, match="ids that differ from the"):
                await client.generate(request)


async def test_a_long_prompt_is_an_overflow(chatml: Path) -> None:
    said = "The decoder prompt (length 2100) is longer than the maximum model length of 2048."
    async with bench(chatml, [error(400, said)]) as it:
        with pytest.raises(ContextOverflow):
            await it.ask()


async def test_failed_tries_are_in_the_record_and_each_has_an_id_of_its_own(chatml: Path) -> None:
    async with bench(chatml, [error(503, "busy"), f"5{END}"]) as it:
        completion = await it.ask(request_id="r1")
    assert [attempt.error for attempt in completion.attempts] == ["ServerOverloaded"]
    assert [request.headers["x-request-id"] for request in it.server.requests] == ["r1", "r1-retry1"]


async def test_an_overloaded_server_is_given_up_after_the_last_try(chatml: Path) -> None:
    async with bench(chatml, [error(503, "busy")] * 3) as it:
        with pytest.raises(ServerOverloaded, match="gave up after 3 tries"):
            await it.ask()


async def test_cancelling_closes_the_request(chatml: Path) -> None:
    async with bench(chatml, [hang()]) as it:
        asked = asyncio.create_task(it.ask())
        await it.server.until(lambda server: server.running == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await it.server.until(lambda server: server.aborted == 1)


async def test_malformed_arguments_do_not_end_the_rollout(chatml: Path) -> None:
    call = '<tool_call>\n{"name": "add", "arguments": [1]}\n</tool_call>'
    async with bench(chatml, [call + END, f"sorry{END}"]) as it:
        trajectory = await it.roll_out()
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert [fault.kind for fault in trajectory.tool_errors] == [ToolErrorKind.PARSE]
    assert len(trajectory.sequences) == 1


async def test_a_folder_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    async with ScriptedServer([], models=["m"]) as server:
        async with TokenClient(server.url, "m", tmp_path / "none") as client:
            with pytest.raises(BadRequest, match=r"folder not found: .*none; pass the model's own folder"):
                await client.check()


@pytest.mark.parametrize("endpoint", ["generate", "sglang", "completions"])
async def test_an_endpoint_that_is_closed_is_told_at_the_check(chatml: Path, endpoint: Endpoint) -> None:
    path = {"generate": "/inference/v1/generate", "sglang": "/generate", "completions": "/v1/completions"}
    script = TokenScript([], FolderTokenizer(chatml), closed=[path[endpoint]])
    async with ScriptedServer(script, models=["m"]) as server:
        async with TokenClient(server.url, "m", chatml, endpoint=endpoint) as client:
            with pytest.raises(
                BadRequest, match=f"does not serve {path[endpoint]} .*choose another endpoint"
            ):
                await client.check()
