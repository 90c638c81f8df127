"""llama.cpp's replies, as it sends them: each sampled token has its own id and logprob, or is said not to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import ScriptedRequest, ScriptedServer, Step, error
from template_families import CHATML, write_folder
from token_script import Sampled, llama_reply

from rollway.inference import (
    BadRequest,
    ChatClient,
    CompletionRequest,
    InvalidReply,
    RetryPolicy,
    Sampling,
    TokenClient,
)
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.llama_completion import completion_body, place_logprobs
from rollway.inference.prompt_scores import PromptScorer
from rollway.inference.protocol import Completion
from rollway.inference.sampling_fields import LLAMA_CPP
from rollway.trajectory import Untrainable

ASKED = CompletionRequest(messages=[{"role": "user", "content": "Smile."}])
QUICK = RetryPolicy(tries=2, first_delay=0.001)
PROPS = {"default_generation_settings": {"n_ctx": 64}, "total_slots": 2}


# Which token a logprob is of


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12))
def test_no_token_ever_has_the_logprob_of_another(sampled: list[tuple[int, bool]]) -> None:
    """The server leaves some entries out; few ids, so that they repeat."""
    tokens = [token for token, _ in sampled]
    own = [-float(place + 1) for place in range(len(tokens))]
    told = [(token, own[place]) for place, (token, kept) in enumerate(sampled) if kept]
    placed = place_logprobs(tokens, [SimpleNamespace(id=token, logprob=value) for token, value in told])
    assert len(placed) == len(tokens)
    assert all(value in (None, own[place]) for place, value in enumerate(placed))
    if len(told) == len(tokens):
        assert placed == own


def test_an_entry_of_a_token_that_was_not_sampled_is_a_contradiction() -> None:
    with pytest.raises(ValueError, match="do not match its sampled ids"):
        place_logprobs([1, 2], [SimpleNamespace(id=3, logprob=-1.0)])


# What is sent


def test_what_is_not_said_is_sent_as_what_changes_nothing() -> None:
    body = completion_body([1, 2], {"temperature": None, "top_k": None, "max_tokens": 5})
    assert {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "n_predict": 5,
    }.items() <= body.items()
    assert body == completion_body(
        [1, 2], {"temperature": 1.0, "top_k": 0, "max_tokens": 5, "repetition_penalty": 1.0}
    )


def test_a_field_that_would_be_lost_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"llama\.cpp knows no 'stop_token_ids'"):
        completion_body([1, 2], {"stop_token_ids": [7]})


# Token mode


class Llama:
    """A server that samples ``sampled``, and says the logprobs of some only when it is asked again."""

    def __init__(self, sampled: Sequence[int], told: Sequence[int], **changes: Any) -> None:
        self.sampled, self.told, self.changes = list(sampled), told, changes
        self.forced: list[dict[str, Any]] = []

    def __call__(self, request: ScriptedRequest) -> Any:
        body = request.body
        if request.path != "/completion":
            return error(404, "File Not Found")
        if "prompt" not in body:
            return error(400, "key 'prompt' not found")
        if "logit_bias" in body:
            self.forced.append(body)
            return self._forced(body)
        reply = llama_reply(Sampled(self.sampled), body)
        entries = [reply["completion_probabilities"][place] for place in self.told]
        return reply | {"completion_probabilities": entries} | self.changes

    def _forced(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ids below 10 end within a character: they have no entry, and are found among the likely ones."""
        wanted, _ = body["logit_bias"][0]
        likely = [{"id": token, "logprob": -token / 10} for token in range(min(20, body["n_probs"]))]
        entry = {"id": 99 if wanted == "a" else wanted, "logprob": -7.0, "top_logprobs": likely}
        if isinstance(wanted, int) and wanted >= 10:
            entry["logprob"] = -wanted / 10
        entries = [] if isinstance(wanted, int) and wanted < 10 else [entry]
        return {"tokens": [entry["id"]], "completion_probabilities": entries}


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(CHATML, tmp_path_factory.mktemp("models") / "chatml")


async def ask_by_ids(script: Any, chatml: Path, asked: CompletionRequest = ASKED) -> Completion:
    async with ScriptedServer(script) as server:
        async with TokenClient(server.url, "m", chatml, retry=QUICK) as client:
            return await client.generate(asked)


async def test_a_logprob_that_was_left_out_is_asked_for_by_id_in_its_own_context(chatml: Path) -> None:
    script = Llama([30, 5, 31, 40], told=[0, 2])
    completion = await ask_by_ids(script, chatml)
    assert completion.token_ids == [30, 5, 31, 40]
    assert completion.logprobs == [-31 / 1024, -0.5, -32 / 1024, -4.0]
    prompt = completion.prompt_token_ids or []
    assert [body["prompt"] for body in script.forced] == [[*prompt, 30], [*prompt, 30], [*prompt, 30, 5, 31]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"truncated": True, "tokens_cached": 5}, "start it without --context-shift"),
        ({"tokens_evaluated": 3}, "read a prompt of 3 tokens, not the"),
        ({"tokens_predicted": 9}, "2 token ids, but counted 9 sampled tokens"),
        ({"tokens": None}, "without token_ids"),
        ({"tokens": [30, "x"]}, "no usable reply"),
        ({"completion_probabilities": [{"id": 30, "logprob": -3.4e38}]}, "stands for -infinity"),
        ({"completion_probabilities": [{"id": 77, "logprob": -1.0}]}, "do not match its sampled ids"),
    ],
)
async def test_a_reply_that_contradicts_itself_or_the_request_is_invalid(
    changes: dict[str, Any], said: str, chatml: Path
) -> None:
    with pytest.raises(InvalidReply, match=said):
        await ask_by_ids(Llama([30, 31], told=[0, 1], **changes), chatml)


async def test_no_logprob_is_asked_for_where_ids_are_missing(chatml: Path) -> None:
    script = Llama([30, 31], told=[], tokens_predicted=3)
    with pytest.raises(InvalidReply, match="counted 3 sampled tokens"):
        await ask_by_ids(script, chatml)
    assert script.forced == []


async def test_a_full_context_is_a_reply_that_was_cut(chatml: Path) -> None:
    script = Llama([30, 31], told=[0, 1], truncated=True, stop_type="limit")
    assert (await ask_by_ids(script, chatml)).finish_reason == "length"


async def test_a_token_that_ends_replies_on_the_server_only_is_not_text(chatml: Path) -> None:
    (a,) = FolderTokenizer(chatml).encode("a")
    script = Llama([a, 0], told=[0, 1], stop_type="eos")
    completion = await ask_by_ids(script, chatml)
    assert completion.token_ids == [a, 0]
    assert completion.content == "a"


async def test_a_field_of_another_server_is_told_in_one_line(chatml: Path) -> None:
    asked = CompletionRequest(messages=ASKED.messages, sampling=Sampling(extra={"min_tokens": 3}))
    with pytest.raises(BadRequest, match=r"llama\.cpp knows no 'min_tokens'"):
        await ask_by_ids(Llama([30], told=[0]), chatml, asked)


# Chat mode


def chat_reply(ids: Sequence[int], *, counted: int | None = None, prompt: int = 3) -> dict[str, Any]:
    entries = [{"id": token, "token": "x", "bytes": [120], "logprob": -1.0} for token in ids]
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
    usage = {"prompt_tokens": prompt, "completion_tokens": len(ids) if counted is None else counted}
    return {"choices": [{**choice, "logprobs": {"content": entries}}], "model": "m", "usage": usage}


def chat_server(reply: dict[str, Any], **answers: Any) -> Callable[[ScriptedRequest], Any]:
    pages = {
        "/v1/chat/completions": reply,
        "/apply-template": {"prompt": "<s>Smile."},
        "/tokenize": {"tokens": [1, 2, 3]},
    }
    pages |= {f"/{name.replace('_', '-')}": answer for name, answer in answers.items()}
    return lambda request: pages[request.path]


async def ask_by_chat(script: Any, *, context: int = 64, **options: Any) -> tuple[Completion, ScriptedServer]:
    props = {"default_generation_settings": {"n_ctx": context}}
    async with ScriptedServer(script, pages={"/props": props}) as server:
        async with ChatClient(server.url, "m", retry=QUICK, **options) as client:
            return await client.generate(ASKED), server


async def test_ids_of_a_chat_stand_in_its_logprobs_and_those_of_its_prompt_are_asked_for() -> None:
    completion, server = await ask_by_chat(chat_server(chat_reply([7, 8])))
    assert (completion.token_ids, completion.logprobs) == ([7, 8], [-1.0, -1.0])
    assert completion.prompt_token_ids == [1, 2, 3]
    chat, rendered, read = server.requests
    assert rendered.body == chat.body
    assert read.body == {"content": "<s>Smile.", "add_special": True, "parse_special": True}


@pytest.mark.parametrize(
    ("script", "context", "said"),
    [
        (chat_server(chat_reply([7, 8], prompt=4)), 64, "counted 4 prompt tokens, but makes 3 ids"),
        (chat_server(chat_reply([7, 8])), 4, "start it without --context-shift"),
        (chat_server(chat_reply([7]), apply_template=error(404, "no")), 64, "without prompt_token_ids"),
        (chat_server(chat_reply([7]), tokenize=error(400, "no")), 64, "makes 0 ids of the same messages"),
    ],
)
async def test_a_prompt_that_is_not_known_for_sure_has_no_ids(
    script: Any, context: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="rollway"):
        completion, _ = await ask_by_chat(script, context=context)
    assert completion.token_ids is not None
    assert completion.prompt_token_ids is None
    assert said in caplog.text


async def test_calls_that_the_server_read_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """It puts them under a grammar as soon as they begin."""
    reply = chat_reply([7])
    function = {"name": "add", "arguments": "{}"}
    reply["choices"][0]["message"]["tool_calls"] = [{"id": "1", "type": "function", "function": function}]
    with caplog.at_level(logging.WARNING, logger="rollway"):
        await ask_by_chat(chat_server(reply))
    (record,) = caplog.records
    assert "tool_choice: none" in record.getMessage()


async def test_ids_that_are_not_all_there_are_none(caplog: pytest.LogCaptureFixture) -> None:
    script = chat_server(chat_reply([7, 8], counted=5))
    with caplog.at_level(logging.WARNING, logger="rollway"):
        completion, server = await ask_by_chat(script)
    assert (completion.token_ids, completion.untrainable) == (None, Untrainable.MISSING_TOKEN_IDS)
    assert "the ids of 2 of the 5 sampled tokens" in caplog.text
    assert len(server.requests) == 1
    with pytest.raises(InvalidReply, match="the ids of 2 of the 5 sampled tokens"):
        await ask_by_chat(script, require_token_data=True)


async def test_a_prompt_is_asked_for_again_when_the_server_is_busy() -> None:
    answers = iter([error(503, "Loading model"), {"prompt": "<s>Smile."}])
    pages = chat_server(chat_reply([7]))
    completion, _ = await ask_by_chat(
        lambda request: next(answers) if request.path == "/apply-template" else pages(request)
    )
    assert completion.prompt_token_ids == [1, 2, 3]
    assert [attempt.status for attempt in completion.attempts] == [503]


async def test_a_server_that_lists_itself_as_llama_cpp_is_told_in_its_own_words_how_to_draw() -> None:
    listed = Step({"data": [{"id": "m", "owned_by": "llamacpp"}]})
    asked = CompletionRequest(messages=ASKED.messages, sampling=Sampling(repetition_penalty=1.5))
    script = chat_server(chat_reply([7]))
    async with ScriptedServer(script, models=listed, pages={"/props": PROPS}) as server:
        async with ChatClient(server.url) as client:
            await client.check()
            await client.generate(asked)
    body = server.requests[0].body
    assert (LLAMA_CPP.neutral | {"repeat_penalty": 1.5}).items() <= body.items()
    assert "repetition_penalty" not in body


# Verifying


async def test_tokens_are_scored_one_by_one_in_a_slot_of_their_own() -> None:
    script = Llama([], told=[])

    def answer(request: ScriptedRequest) -> Any:
        return {"choices": [{"index": 0, "text": "x"}]} if "completions" in request.path else script(request)

    async with ScriptedServer(answer, pages={"/props": PROPS}) as server:
        async with PromptScorer(server.url, "m", retry=QUICK, top=2) as scorer:
            scored = await scorer.score_with_likeliest([11, 12, 13, 5], 2)
    assert [each.logprob for each in scored] == [-1.3, -0.5]
    assert [each.likeliest for each in scored] == [[(0, 0.0), (1, -0.1)]] * 2
    last = script.forced[-1]
    assert (last["prompt"], last["temperature"], last["n_predict"]) == ([11, 12, 13], 0.0, 1)
    assert len({body["id_slot"] for body in script.forced[1:]}) == 1
