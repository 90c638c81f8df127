"""Prompts by the `renderers` package. Tests that render are skipped where it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer
from template_families import FAMILIES, write_folder
from token_script import TokenScript, letters

from rollway.agent_loop import AgentLoop
from rollway.embedded.policy import find_policy
from rollway.errors import UserError
from rollway.inference import BadRequest, CompletionRequest, Sampling, TokenClient
from rollway.inference.chat_template import TemplateFailure
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.prompt_writer import Prompt, PromptWriter
from rollway.inference.protocol import PromptPrefix
from rollway.inference.renderers_writer import RendererWriter
from rollway.tools import ToolPool, tool

FOLDER = find_policy("calculator")  # Qwen3's special tokens, and its way with tool results
QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
FUNCTION = {"name": "add", "arguments": '{"a": 2, "b": 3}'}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "c", "type": "function", "function": FUNCTION}],
}
RESULT = {"role": "tool", "tool_call_id": "c", "name": "add", "content": "5"}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
END = "<|im_end|>"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def tokenizer() -> FolderTokenizer:
    return FolderTokenizer(FOLDER)


@pytest.fixture(params=["qwen3", "Qwen/Qwen3-8B"])
def writer(request: pytest.FixtureRequest) -> RendererWriter:
    return renderer_writer(request.param)


def renderer_writer(name: str, **options: Any) -> RendererWriter:
    pytest.importorskip("renderers")
    return RendererWriter(FOLDER, name, **options)


def go_on(
    writer: Any, reply: dict[str, Any], sampled: list[int], *new: dict[str, Any]
) -> tuple[list[int], Prompt]:
    """The ids up to the end of a reply, and the prompt that follows it."""
    first = writer.write(CompletionRequest(messages=QUESTION), frozenset())
    whole = first.token_ids + sampled
    prefix = PromptPrefix(whole, len(sampled), len(QUESTION) + 1)
    request = CompletionRequest(messages=[*QUESTION, reply, *new], prefix=prefix)
    return whole, writer.write(request, writer.tokenizer.stop_ids)


def test_a_first_prompt_is_the_templates(writer: RendererWriter) -> None:
    request = CompletionRequest(messages=QUESTION)
    assert writer.write(request, frozenset()) == PromptWriter(FOLDER).write(request, frozenset())


def test_tools_stand_in_the_first_prompt(writer: RendererWriter, tokenizer: FolderTokenizer) -> None:
    prompt = writer.write(CompletionRequest(messages=QUESTION, tools=[add.definition()]), frozenset())
    assert '{"type": "function", "function": {"name": "add", "description"' in tokenizer.decode(
        prompt.token_ids
    )


@pytest.mark.parametrize("end", [END, ""], ids=["stopped", "cut"])
def test_only_what_is_new_follows_the_sampled_ids(
    writer: RendererWriter, tokenizer: FolderTokenizer, end: str
) -> None:
    sampled = letters(CALL + end, tokenizer)
    sampled[0:11] = [tokenizer.id_of("<tool_call>")]  # a call begins with one token, or it is none to Qwen3
    before, prompt = go_on(writer, CALLED, sampled, RESULT)
    assert prompt.token_ids[: len(before)] == before
    assert (prompt.rerendered, prompt.dropped_stop) == (False, False)
    _, other = go_on(PromptWriter(FOLDER), CALLED, sampled, RESULT)
    assert prompt.token_ids == other.token_ids
    assert other.end.endswith(prompt.end) or prompt.end.endswith(other.end)


@pytest.mark.parametrize(
    ("family", "name", "opened"),
    [
        ("llama3", "llama-3", "<|start_header_id|>ipython<|end_header_id|>"),
        ("deepseek", "deepseek-v3", "<｜tool▁outputs▁begin｜>"),
        ("kimi", "kimi-k2", "<|im_system|>"),
    ],
)
def test_other_families_go_on_from_the_sampled_ids(
    tmp_path: Path, family: str, name: str, opened: str
) -> None:
    pytest.importorskip("renderers")
    made = FAMILIES[family]
    writer = RendererWriter(write_folder(made, tmp_path / family), name)
    sampled = letters(made.call + made.call_stop, writer.tokenizer)
    before, prompt = go_on(writer, CALLED, sampled, RESULT)
    assert prompt.token_ids[: len(before)] == before
    added = writer.tokenizer.decode(prompt.token_ids[len(before) :])
    assert added.startswith(opened)
    assert "5" in added


@pytest.mark.parametrize("on_mismatch", ["keep", "rerender"])
def test_a_thought_is_kept_or_the_prompt_rendered_anew(tokenizer: FolderTokenizer, on_mismatch: Any) -> None:
    writer = renderer_writer("qwen3", on_mismatch=on_mismatch)
    assert writer.report.verdict == "rewrites"
    reply = {"role": "assistant", "content": "5", "reasoning_content": "Add."}
    sampled = tokenizer.encode(f"<think>\nAdd.\n</think>\n\n5{END}")
    before, prompt = go_on(writer, reply, sampled, {"role": "user", "content": "And 3 + 4?"})
    kept = on_mismatch == "keep"
    assert (prompt.token_ids[: len(before)] == before, prompt.rerendered) == (kept, not kept)
    assert ("Add." in tokenizer.decode(prompt.token_ids)) == kept


def test_sampled_ids_behind_an_end_token_are_not_lost(
    writer: RendererWriter, tokenizer: FolderTokenizer
) -> None:
    """The package takes off what stands behind the last end token; such a prompt does not go on."""
    sampled = tokenizer.encode(f"5{END}6")
    _, prompt = go_on(writer, {"role": "assistant", "content": f"5{END}6"}, sampled, QUESTION[0])
    assert prompt.rerendered


def test_template_variables_of_the_run_and_of_a_request_reach_the_renderer(
    tokenizer: FolderTokenizer,
) -> None:
    shut = "<think>\n\n</think>\n\n"
    request = CompletionRequest(messages=QUESTION)
    writer = renderer_writer("qwen3", variables={"enable_thinking": False})
    assert writer.write(request, frozenset()).end.endswith(shut)
    sampling = Sampling(extra={"chat_template_kwargs": {"enable_thinking": True}})
    assert not writer.write(
        CompletionRequest(messages=QUESTION, sampling=sampling), frozenset()
    ).end.endswith(shut)
    sampling = Sampling(extra={"chat_template_kwargs": {"no_such": 1}})
    with pytest.raises(TemplateFailure, match="no_such"):
        writer.write(CompletionRequest(messages=QUESTION, sampling=sampling), frozenset())


@pytest.mark.parametrize(
    ("name", "variables", "said"),
    [
        ("qwen33", {}, "knows no 'qwen33'.*qwen3"),
        ("default", {}, "knows no 'default'"),
        ("glm-4.5", {}, "'glm-4.5' does not fit .*vocabulary"),
        ("qwen3", {"no_such": 1}, "'qwen3' does not fit .*no_such"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(name: str, variables: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        renderer_writer(name, variables=variables)
    assert "\n" not in str(caught.value)


async def test_a_rollout_is_one_sequence(tokenizer: FolderTokenizer) -> None:
    pytest.importorskip("renderers")
    script = TokenScript([CALL + END, f"It is 5.{END}"], tokenizer)
    async with ScriptedServer(script, models=["m"]) as server:
        async with TokenClient(server.url, "m", FOLDER, endpoint="generate", renderer="qwen3") as client:
            with ToolPool(1) as pool:
                trajectory = await AgentLoop(client, tools=[add], pool=pool).run(QUESTION)
    assert trajectory.messages[-1]["content"] == "It is 5."
    (sequence,) = trajectory.sequences
    assert sum(sequence.loss_mask) == sum(len(turn.token_ids or []) for turn in trajectory.turns)
    assert trajectory.metrics["turns_extended"] == 1


async def test_a_missing_package_is_told_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "renderers", None)
    monkeypatch.delitem(sys.modules, "renderers.base", raising=False)
    async with ScriptedServer([], models=["m"]) as server:
        async with TokenClient(server.url, "m", FOLDER, renderer="qwen3") as client:
            with pytest.raises(BadRequest, match=r"pip install 'rollway\[renderers\]'") as caught:
                await client.check()
    assert "\n" not in str(caught.value)
