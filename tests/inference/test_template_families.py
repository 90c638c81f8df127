"""Token mode on the templates of well-known families: what the probe says, and that nothing sampled is lost.

Each family's server samples its replies letter by letter, which no tokenizer would do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import ScriptedServer
from template_families import FAMILIES, GEMMA, Family, write_folder
from token_script import TokenScript, letters, made_up

from rollway.agent_loop import AgentLoop
from rollway.inference import CompletionRequest, TokenClient
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.prompt_writer import PromptWriter
from rollway.inference.protocol import PromptPrefix
from rollway.sequences import build_sequences, whole_prompts
from rollway.tools import ToolPool, tool
from rollway.trajectory import PromptFit, StopReason, Trajectory

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
WITH_TOOLS = [name for name, family in FAMILIES.items() if family is not GEMMA]
EXTENDING = [name for name, family in FAMILIES.items() if family.verdict in ("extends", "merges")]
FINAL = "It is Pantom 5."


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_folder(FAMILIES[request.param], tmp_path / request.param)


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_the_probe_says_what_the_template_does(folder: Path) -> None:
    report = PromptWriter(folder).report
    assert report.verdict.value == FAMILIES[folder.name].verdict
    assert bool(report.findings) == (report.verdict.value != "extends")
    assert report.short_ids == (folder.name == "mistral")
    assert report.line.startswith(report.verdict.value)


def test_the_user_is_told_in_one_line_what_the_template_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(FAMILIES["qwen3"], tmp_path / "qwen3")
    PromptWriter(folder, on_mismatch="rerender")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    line = record.getMessage()
    assert "\n" not in line
    assert str(folder) in line
    assert "it drops reasoning after a user message" in line
    assert "rendered again" in line


async def rolled_out(
    family: Family, folder: Path, replies: list[Any], **options: Any
) -> tuple[Trajectory, TokenScript, FolderTokenizer]:
    tokenizer = FolderTokenizer(folder)
    script = TokenScript(replies, tokenizer)
    async with ScriptedServer(script) as server:
        async with TokenClient(server.url, "m", folder, endpoint="generate", **options) as client:
            with ToolPool(2) as pool:
                loop = AgentLoop(
                    client,
                    tools=[add],
                    pool=pool,
                    tool_parser=family.tool_parser,
                    reasoning_parser=family.reasoning_parser,
                )
                return await loop.run(QUESTION), script, tokenizer


@pytest.mark.parametrize("folder", WITH_TOOLS, indirect=True)
async def test_every_sampled_token_stands_once_and_the_template_writes_the_rest(folder: Path) -> None:
    family = FAMILIES[folder.name]
    call, final = family.call + family.call_stop, FINAL + family.stops[0]
    trajectory, script, tokenizer = await rolled_out(family, folder, [call, final])
    assert trajectory.error is None
    assert trajectory.stop_reason is StopReason.COMPLETED
    first, second = trajectory.turns
    assert [(one.name, one.arguments) for one in first.tool_calls] == [("add", '{"a": 2, "b": 3}')]
    assert first.tool_results[0].content == "5"
    assert second.content == FINAL
    sampled = [letters(call, tokenizer), letters(final, tokenizer)]
    assert [first.token_ids, second.token_ids] == sampled
    assert second.prompt_fit is PromptFit.EXTENDED
    assert_trained_once(trajectory, sampled)
    between = tokenizer.decode(second.prompt_token_ids or [])
    assert between == family.junction.replace("CALL_ID", first.tool_calls[0].id)
    assert list(whole_prompts(trajectory.turns)) == script.prompts


def assert_trained_once(trajectory: Trajectory, sampled: list[list[int]]) -> None:
    """One sequence, in which the sampled ids and no others have mask 1, with their own logprobs."""
    (sequence,) = trajectory.sequences
    ids = [token for turn in sampled for token in turn]
    kept = [at for at, mask in enumerate(sequence.loss_mask) if mask]
    assert [sequence.token_ids[at] for at in kept] == ids
    assert sequence.logprobs is not None
    assert [sequence.logprobs[at] for at in kept] == made_up(ids)
    context = [at for at, mask in enumerate(sequence.loss_mask) if not mask]
    assert all(sequence.logprobs[at] == 0.0 for at in context)


@pytest.mark.parametrize("folder", EXTENDING, indirect=True)
async def test_the_tokens_between_are_those_of_the_whole_conversation_where_the_template_extends(
    folder: Path,
) -> None:
    """The continuation found on a synthetic history is what rendering everything would have given."""
    family = FAMILIES[folder.name]
    trajectory, _, tokenizer = await rolled_out(family, folder, [family.call + family.call_stop, FINAL])
    writer = PromptWriter(folder)
    rendered = writer.template.render(trajectory.messages[:3], [add.definition()])
    prompt = list(whole_prompts(trajectory.turns))[1]
    assert prompt is not None
    assert tokenizer.decode(prompt) == rendered


@pytest.mark.parametrize("folder", WITH_TOOLS, indirect=True)
async def test_a_reply_cut_at_length_is_ended_by_the_template_with_mask_0(folder: Path) -> None:
    family = FAMILIES[folder.name]
    writer = PromptWriter(folder)
    ids = letters("It is Pan", writer.tokenizer)
    prompt, trained = continued(writer, ids, "It is Pan")
    text = writer.tokenizer.decode(prompt[len(trained) :])
    end = "" if folder.name == "glm" else "<|end|>" if folder.name == "gpt-oss" else family.special[0]
    assert text.startswith(end)
    assert text.count("And then?") == 1
    assert prompt[: len(trained)] == trained


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
async def test_an_empty_reply_leaves_the_prompt_whole(folder: Path) -> None:
    writer = PromptWriter(folder)
    prompt, before = continued(writer, [], "")
    assert prompt[: len(before)] == before
    assert "And then?" in writer.tokenizer.decode(prompt[len(before) :])


def continued(writer: PromptWriter, sampled: list[int], text: str) -> tuple[list[int], list[int]]:
    """The prompt after a reply and one more question, and the ids that it should begin with."""
    first = writer.write(CompletionRequest(messages=QUESTION), writer.tokenizer.stop_ids)
    messages = [*QUESTION, {"role": "assistant", "content": text}, {"role": "user", "content": "And then?"}]
    before = first.token_ids + sampled
    request = CompletionRequest(messages=messages, prefix=PromptPrefix(before, len(sampled), 2))
    return writer.write(request, writer.tokenizer.stop_ids).token_ids, before


def test_a_family_without_tools_goes_on_with_questions(tmp_path: Path) -> None:
    writer = PromptWriter(write_folder(GEMMA, tmp_path / "gemma"))
    reply = letters("It is 5.<end_of_turn>", writer.tokenizer)
    prompt, before = continued(writer, reply, "It is 5.")
    assert prompt[: len(before)] == before
    assert writer.tokenizer.decode(prompt[len(before) - 1 :]) == "<end_of_turn>" + GEMMA.junction


def test_call_ids_are_shortened_only_where_the_template_asks_for_it(tmp_path: Path) -> None:
    function = {"name": "add", "arguments": "{}"}
    call = {"id": "call_0_0_2", "type": "function", "function": function}
    messages = [*QUESTION, {"role": "assistant", "content": "", "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_call_id": "call_0_0_2", "content": "5"})
    texts = {}
    for name in ("mistral", "kimi"):
        writer = PromptWriter(write_folder(FAMILIES[name], tmp_path / name))
        ids = writer.write(CompletionRequest(messages=messages), frozenset()).token_ids
        texts[name] = writer.tokenizer.decode(ids)
    assert "call_0_0_2" in texts["kimi"]
    assert "call_0_0_2" not in texts["mistral"]
    shown = texts["mistral"].split('"id": "')[1].split('"')[0]
    assert len(shown) == 9
    assert f'"call_id": "{shown}"' in texts["mistral"]


def test_two_calls_at_once_go_on_where_the_template_takes_one_only(tmp_path: Path) -> None:
    writer = PromptWriter(write_folder(FAMILIES["llama3"], tmp_path / "llama3"))
    function = {"name": "add", "arguments": '{"a": 2, "b": 3}'}
    calls = [{"id": f"call_0_{number}", "type": "function", "function": function} for number in range(2)]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "5"} for call in calls]
    messages = [*QUESTION, {"role": "assistant", "content": "", "tool_calls": calls}, *results]
    sampled = letters("two calls<|eot_id|>", writer.tokenizer)
    request = CompletionRequest(messages=messages, prefix=PromptPrefix([1, 2, *sampled], len(sampled), 2))
    prompt = writer.write(request, writer.tokenizer.stop_ids)
    assert prompt.token_ids[: len(sampled) + 2] == [1, 2, *sampled]
    result = "<|start_header_id|>ipython<|end_header_id|>\n\n5<|eot_id|>"
    text = writer.tokenizer.decode(prompt.token_ids[len(sampled) + 2 :])
    assert text == 2 * result + "<|start_header_id|>assistant<|end_header_id|>\n\n"


async def test_rerendering_begins_a_new_sequence_where_the_template_drops_a_thought(tmp_path: Path) -> None:
    family = FAMILIES["qwen3"]
    folder = write_folder(family, tmp_path / "qwen3")
    malformed = "<think>\nHm.\n</think>\n\n<tool_call>\n{oops\n</tool_call><|im_end|>"
    for policy, sequences in (("keep", 1), ("rerender", 2)):
        trajectory, script, tokenizer = await rolled_out(
            family, folder, [malformed, FINAL + "<|im_end|>"], on_mismatch=policy
        )
        assert len(trajectory.sequences) == sequences
        assert ("Hm." in tokenizer.decode(script.prompts[1])) == (policy == "keep")
        assert trajectory.sequences == build_sequences(trajectory.turns)
        trained = [
            token
            for sequence in trajectory.sequences
            for token, mask in zip(sequence.token_ids, sequence.loss_mask, strict=True)
            if mask
        ]
        assert trained == letters(malformed, tokenizer) + letters(FINAL + "<|im_end|>", tokenizer)
    assert trajectory.turns[1].prompt_fit_reason == "rerendered"
    assert trajectory.metrics["turns_forked"] == 1.0


async def test_rerendering_keeps_the_sequence_where_the_template_extends(tmp_path: Path) -> None:
    family = FAMILIES["chatml"]
    folder = write_folder(family, tmp_path / "chatml")
    trajectory, _, tokenizer = await rolled_out(
        family, folder, [family.call + "<|im_end|>", FINAL + "<|im_end|>"], on_mismatch="rerender"
    )
    sampled = [letters(family.call + "<|im_end|>", tokenizer), letters(FINAL + "<|im_end|>", tokenizer)]
    assert_trained_once(trajectory, sampled)


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_the_ids_of_what_is_new_are_those_of_a_whole_rendering(folder: Path) -> None:
    writer, family = PromptWriter(folder), FAMILIES[folder.name]
    stop = "<|user|>" if folder.name == "glm" else family.stops[0]
    sampled = letters("It is 5." + stop, writer.tokenizer)
    prompt, before = continued(writer, sampled, "It is 5.")
    new = prompt[len(before) :]
    talk = [
        *QUESTION,
        {"role": "assistant", "content": "It is 5."},
        {"role": "user", "content": "And then?"},
    ]
    whole = writer.tokenizer.encode(writer.template.render(talk))
    assert prompt[: len(before)] == before
    assert whole[-len(new) :] == new


@pytest.fixture(scope="module")
def writer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PromptWriter:
    name = request.param
    return PromptWriter(write_folder(FAMILIES[name], tmp_path_factory.mktemp("models") / name))


@pytest.mark.parametrize("writer", ["chatml", "glm", "gpt-oss", "mistral"], indirect=True)
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_sampled_the_next_prompt_begins_with_it(
    writer: PromptWriter, data: st.DataObject
) -> None:
    ids = st.integers(0, 260) | st.sampled_from(sorted(writer.tokenizer.special_ids))
    sampled = data.draw(st.lists(ids, max_size=8))
    first = writer.write(CompletionRequest(messages=QUESTION), writer.tokenizer.stop_ids)
    before = first.token_ids + sampled
    messages = [*QUESTION, {"role": "assistant", "content": "?"}, {"role": "user", "content": "And then?"}]
    request = CompletionRequest(messages=messages, prefix=PromptPrefix(before, len(sampled), 2))
    prompt = writer.write(request, writer.tokenizer.stop_ids)
    assert not prompt.rerendered
    assert not prompt.dropped_stop or (sampled and sampled[-1] in writer.tokenizer.stop_ids)
    kept = before[:-1] if prompt.dropped_stop else before
    assert prompt.token_ids[: len(kept)] == kept
    assert writer.tokenizer.decode(prompt.token_ids[len(kept) :]).count("And then?") == 1
    assert request.prefix is not None
    assert request.prefix.token_ids == before


def test_a_prompt_whose_new_tokens_cannot_be_told_is_rendered_anew_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(FAMILIES["chatml"], tmp_path / "forgetful")
    source = "<|im_start|>{{ messages[-1].role }}:{{ messages[-1].content }}<|im_end|>"
    (folder / "chat_template.jinja").write_text(source + "{% if add_generation_prompt %}!{% endif %}")
    writer = PromptWriter(folder)
    assert writer.report.verdict == "rewrites"
    caplog.clear()
    messages = [*QUESTION, {"role": "assistant", "content": "5"}, {"role": "user", "content": "And then?"}]
    request = CompletionRequest(messages=messages, prefix=PromptPrefix([1, 2, 3], 1, 2))
    for _ in range(2):
        prompt = writer.write(request, writer.tokenizer.stop_ids)
        assert prompt.rerendered
        assert writer.tokenizer.decode(prompt.token_ids) == "<|im_start|>user:And then?<|im_end|>!"
    (record,) = caplog.records
    assert "rendered again" in record.getMessage()


def test_a_template_that_takes_no_short_conversation_is_reported_and_not_raised(tmp_path: Path) -> None:
    folder = write_folder(FAMILIES["chatml"], tmp_path / "strict")
    source = (
        "{% if messages[0].role != 'system' %}{{ raise_exception('a system message first') }}{% endif %}x"
    )
    (folder / "chat_template.jinja").write_text(source)
    report = PromptWriter(folder).report
    assert report.verdict == "refuses"
    assert "a system message first" in report.line
    assert "\n" not in report.line


@pytest.mark.torch
@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_text_and_ids_are_those_of_transformers(folder: Path) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(folder)
    writer = PromptWriter(folder)
    talk = [*QUESTION, {"role": "assistant", "content": " Pantom "}, {"role": "user", "content": "12"}]
    for end, generate in ((1, True), (2, False), (3, True)):
        text = writer.template.render(talk[:end], add_generation_prompt=generate)
        assert text == reference.apply_chat_template(
            talk[:end], add_generation_prompt=generate, tokenize=False
        )
        ids = writer.tokenizer.encode(text)
        assert ids == reference(text, add_special_tokens=False)["input_ids"]
        assert writer.tokenizer.decode(ids) == reference.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
