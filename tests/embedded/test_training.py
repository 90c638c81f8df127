"""What the policy is trained on: the engine's own conversations, and only the tokens that it would sample."""

from __future__ import annotations

import hashlib
import re
import sys
from itertools import islice
from pathlib import Path

import pytest

import rollway
from rollway.embedded.training.batches import IGNORED, draw_batches, labels, text_of
from rollway.embedded.training.conversations import draw_conversations
from rollway.embedded.training.replies import follow
from rollway.embedded.training.tokenizer import VOCABULARY, token_id, train_tokenizer
from rollway.embedded.training.train import main, train
from rollway.environments.calculator import CalculatorEnvironment
from rollway.environments.calculator.tasks import make_tasks
from rollway.inference.chat_template import ChatTemplate
from rollway.tools import ToolRegistry

FOLDER = Path(rollway.__file__).parent / "embedded" / "policies" / "calculator"
TOOLS = CalculatorEnvironment.tools


@pytest.fixture(scope="module")
def template():
    return ChatTemplate(FOLDER)


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@pytest.fixture(scope="module")
def conversations():
    return list(islice(draw_conversations(7, TOOLS), 1500))


def test_no_question_of_the_test_split_is_trained_on(conversations):
    asked = {m["content"] for c in conversations for m in c.messages if m["role"] == "user"}
    assert not asked & {task["question"] for task in make_tasks("test")}


def test_the_loss_covers_what_the_policy_writes_and_its_end_token_and_nothing_else(
    conversations, template, tokenizer
):
    for conversation in conversations[:200]:
        ids = tokenizer.encode(text_of(template, conversation)).ids
        runs, run = [], []
        for token, label in zip(ids, labels(ids, tokenizer), strict=True):
            assert label in (IGNORED, token)
            if label == token:
                run.append(token)
            elif run:
                runs.append(tokenizer.decode(run, skip_special_tokens=False))
                run = []
        written = [
            template.render([message], add_generation_prompt=False)
            .removeprefix("<|im_start|>assistant\n")
            .removesuffix("\n")
            for message in conversation.messages
            if message["role"] == "assistant"
        ]
        assert runs == written
        assert not run  # the newline after the last turn is not trained on


FAULTS = ("no tool named", "invalid arguments", "could not be read")


def faults_of(conversation) -> list[str]:
    """The faults that the policy is told of, in order."""
    told = [m["content"] for m in conversation.messages if m["role"] in ("tool", "user")]
    return [fault for text in told for fault in FAULTS if fault in text]


def test_few_conversations_hold_a_call_that_cannot_run(conversations):
    share = sum(bool(faults_of(conversation)) for conversation in conversations) / len(conversations)
    assert 0.01 < share < 0.06


def test_a_call_that_cannot_run_is_answered_in_the_engines_words_and_made_again(conversations):
    seen = set()
    for conversation in conversations:
        seen.update(faults_of(conversation))
        for place, message in enumerate(conversation.messages):
            if message["role"] != "assistant" and any(fault in message["content"] for fault in FAULTS):
                following = next(m for m in conversation.messages[place:] if m["role"] == "assistant")
                assert following.get("tool_calls") or "<tool_call>" in following["content"]
    assert seen == set(FAULTS)


def test_answers_are_right_but_for_the_calls_that_were_spoilt(conversations):
    right = 0
    for conversation in conversations:
        written = [m["content"] for m in conversation.messages if m["role"] == "assistant"]
        expression = re.match(r"<think>([-+*() 0-9]+)</think>", written[0])[1]
        right += written[-1].endswith(f"</think>The answer is {eval(expression)}.")
    assert 0.88 < right / len(conversations) < 0.97


def test_independent_operations_are_called_in_one_turn(conversations):
    counts = [len(m.get("tool_calls", [])) for c in conversations for m in c.messages]
    assert set(counts) == {0, 1, 2}


def test_a_turn_that_was_written_is_rendered_to_the_letter(template):
    text = (
        '<think>2 * 3</think><tool_call>\n{"name": "multiply", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
    )
    messages = follow(text, ToolRegistry(TOOLS))
    assert messages[1:] == [{"role": "tool", "content": "6"}]
    rendered = template.render(messages, add_generation_prompt=False)
    assert rendered.startswith(f"<|im_start|>assistant\n{text}<|im_end|>\n")


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(template, tokenizer):
    def first(seed: int):
        return list(islice(draw_batches(seed, template, tokenizer, TOOLS, tokens=1024), 3))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_batches_are_rectangles_within_their_bound(template, tokenizer):
    for batch in islice(draw_batches(3, template, tokenizer, TOOLS, tokens=2048), 60):
        widths = {len(row) for row in batch.ids + batch.labels}
        assert len(widths) == 1
        assert len(batch.ids) == 1 or len(batch.ids) * widths.pop() <= 2048


def test_the_tokenizer_is_learnt_the_same_way_twice(conversations, template):
    texts = [text_of(template, conversation) for conversation in conversations]
    first, second = train_tokenizer(texts), train_tokenizer(texts)
    assert first.to_str() == second.to_str()
    assert first.get_vocab_size() == VOCABULARY


def test_too_few_texts_for_the_vocabulary_are_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"vocabulary of .* train the tokenizer on more"):
        train_tokenizer(["ab ab"])


def test_a_missing_token_is_named(tokenizer):
    with pytest.raises(KeyError, match="<nothing>"):
        token_id(tokenizer, "<nothing>")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--out"),
        (["--out", "x", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["--out", "x", "--steps", "10", "--keep", "11"], "--keep 11 is not between 1 and the 10 steps"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(arguments, complaint, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_without_torch_the_command_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("rollway.embedded.training.train.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["train", "--out", "x"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "pip install 'rollway[train]'" in capsys.readouterr().err


@pytest.mark.torch
def test_training_is_reproducible_and_its_folder_loads(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name in ("first", "second"):
        train(out=tmp_path / name, steps=3, keep=[2], seed=5, tokens=512, threads=1)
    digests = {
        hashlib.sha256((tmp_path / n / "model.safetensors").read_bytes()).digest()
        for n in ("first", "second")
    }
    assert len(digests) == 1
    assert (tmp_path / "first-2" / "model.safetensors").exists()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    assert sum(p.numel() for p in model.parameters()) == 935_936
    assert model.config.rope_parameters["rope_theta"] == 10000.0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "first")
    assert tokenizer.decode(tokenizer("<think>12</think>")["input_ids"]) == "<think>12</think>"


@pytest.mark.torch
def test_transformers_renders_and_tokenises_the_shipped_folder_as_the_embedded_server_does(
    template, tokenizer
):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(FOLDER)
    for conversation in islice(draw_conversations(11, TOOLS), 50):
        text = text_of(template, conversation)
        messages = conversation.messages
        assert theirs.apply_chat_template(messages, tools=conversation.tools, tokenize=False) == text
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
