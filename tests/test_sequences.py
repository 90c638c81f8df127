"""Every sampled token stands in exactly one sequence, in the context it was sampled in."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.sequences import (
    PromptChain,
    build_sequences,
    count_fits,
    fit_of_prompt,
    shared_prefix,
    untrainable_reason,
    whole_prompts,
)
from rollway.trajectory import DroppedToken, FitReason, PromptFit, Turn, Untrainable, VersionSpan

ids = st.lists(st.integers(0, 3), max_size=6)  # few distinct ids, so that prefixes meet by chance


def turns_from(steps: list[tuple[list[int] | None, list[int] | None]]) -> list[Turn]:
    """Turns as the loop records them, from whole prompts and sampled ids."""
    turns, before = [], []
    for index, (prompt, sampled) in enumerate(steps):
        logprobs = None if sampled is None else [-0.5 - token for token in sampled]
        turn = Turn(index=index, token_ids=sampled, logprobs=logprobs)
        if prompt is None:
            before = []
        else:
            turn.prompt_shared = shared_prefix(before, prompt)
            turn.prompt_token_ids = prompt[turn.prompt_shared :]
            before = prompt + (sampled or [])
        turns.append(turn)
    return turns


@given(ids, ids)
def test_the_shared_prefix_is_the_longest_one(left: list[int], right: list[int]) -> None:
    shared = shared_prefix(left, right)
    assert left[:shared] == right[:shared]
    assert shared == min(len(left), len(right)) or left[shared] != right[shared]


steps = st.lists(st.tuples(st.none() | ids, st.none() | ids), max_size=6)


@given(steps)
def test_whole_prompts_are_rebuilt_from_what_turns_keep(
    steps: list[tuple[list[int] | None, list[int] | None]],
) -> None:
    assert list(whole_prompts(turns_from(steps))) == [prompt for prompt, _ in steps]


@settings(max_examples=300)
@given(steps)
def test_every_trainable_token_is_trained_exactly_once_in_its_own_context(
    steps: list[tuple[list[int] | None, list[int] | None]],
) -> None:
    turns = turns_from(steps)
    trained: dict[int, tuple[list[int], list[int], list[float]]] = {}
    for sequence in build_sequences(turns):
        size = len(sequence.token_ids)
        assert len(sequence.loss_mask) == len(sequence.turn_index) == size
        assert sequence.logprobs is not None
        assert len(sequence.logprobs) == size
        for position, mask in enumerate(sequence.loss_mask):
            if not mask:
                assert sequence.logprobs[position] == 0.0
                continue
            index = sequence.turn_index[position]
            fresh = (sequence.token_ids[:position], [], [])
            _, sampled, logprobs = trained.setdefault(index, fresh)
            sampled.append(sequence.token_ids[position])
            logprobs.append(sequence.logprobs[position])
    for turn, (prompt, sampled_ids) in zip(turns, steps, strict=True):
        if untrainable_reason(turn) is not None or not sampled_ids:
            assert turn.index not in trained
        else:
            assert trained[turn.index] == (prompt, sampled_ids, turn.logprobs)


def test_turns_that_extend_one_another_make_one_sequence() -> None:
    turns = turns_from([([1, 2], [3, 4]), ([1, 2, 3, 4, 9, 9], [5])])
    (sequence,) = build_sequences(turns)
    assert sequence.token_ids == [1, 2, 3, 4, 9, 9, 5]
    assert sequence.loss_mask == [0, 0, 1, 1, 0, 0, 1]
    assert sequence.turn_index == [0, 0, 0, 0, 1, 1, 1]
    assert sequence.logprobs == [0.0, 0.0, -3.5, -4.5, 0.0, 0.0, -5.5]


def test_a_prompt_that_drops_a_thought_begins_a_new_sequence() -> None:
    first, second = build_sequences(turns_from([([1, 2], [7, 3]), ([1, 2, 3, 9], [5])]))
    assert first.token_ids == [1, 2, 7, 3]
    assert (second.token_ids, second.loss_mask) == ([1, 2, 3, 9, 5], [0, 0, 0, 0, 1])


def test_an_empty_generation_trains_nothing_and_keeps_the_sequence_open() -> None:
    (sequence,) = build_sequences(turns_from([([1, 2], []), ([1, 2, 9], [5])]))
    assert (sequence.token_ids, sequence.loss_mask) == ([1, 2, 9, 5], [0, 0, 0, 1])


def test_missing_logprobs_stay_missing() -> None:
    turns = turns_from([([1], [2])])
    turns[0].logprobs = None
    (sequence,) = build_sequences(turns)
    assert sequence.logprobs is None


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (Turn(index=0, prompt_token_ids=[1]), Untrainable.NO_TOKEN_IDS),
        (Turn(index=0, token_ids=[1]), Untrainable.NO_PROMPT_TOKEN_IDS),
        (Turn(index=0, prompt_token_ids=[], token_ids=[1, 2], logprobs=[-1.0]), Untrainable.LENGTH_MISMATCH),
    ],
)
def test_a_turn_in_no_sequence_says_why(turn: Turn, reason: Untrainable) -> None:
    assert untrainable_reason(turn) is reason
    assert build_sequences([turn]) == []


def test_weight_versions_stand_beside_each_token() -> None:
    turns = turns_from([([1], [2]), ([1, 2, 3], [4])])
    turns[0].weight_version, turns[1].weight_version = "v1", "v2"
    (sequence,) = build_sequences(turns)
    assert sequence.weight_versions == ["v1", "v1", "v2", "v2"]


def test_a_long_history_is_kept_in_size_linear_in_its_length() -> None:
    prompt: list[int] = [0]
    history = []
    for index in range(50):
        history.append((list(prompt), [index, 1]))
        prompt = [*prompt, index, 1, 2]
    turns = turns_from(history)
    assert all(len(turn.prompt_token_ids or []) == 1 for turn in turns)
    assert all(later.prompt_shared > earlier.prompt_shared for earlier, later in pairwise(turns))


# Chains of prompts

TEXTS = {1: "?", 2: " Pan", 3: "tom", 4: " Pantom", 5: "<end>", 6: "\n", 7: "<think>", 8: "!", 9: "<next>"}


def spell(ids: Sequence[int]) -> str:
    return "".join(TEXTS[token] for token in ids)


@pytest.mark.parametrize(
    ("prompt", "fit", "reason"),
    [
        ([1, 7, 2, 3, 5, 6], PromptFit.EXTENDED, None),
        ([1, 7, 4, 5, 6], PromptFit.REALIGNED, FitReason.OTHER_SPLIT),
        ([1, 7, 4, 9, 6], PromptFit.REALIGNED, FitReason.OTHER_END),
        ([1, 7, 2, 3, 9], PromptFit.REALIGNED, FitReason.OTHER_END),
        ([1, 7, 2, 3], PromptFit.REALIGNED, FitReason.OTHER_END),
        ([1, 2, 3, 5, 6], PromptFit.FORKED, FitReason.REPLY_REWRITTEN),
        ([1], PromptFit.FORKED, FitReason.REPLY_REWRITTEN),
        ([8, 7, 2, 3, 5, 6], PromptFit.FORKED, FitReason.HISTORY_CHANGED),
    ],
)
def test_how_a_prompt_follows_is_told_by_its_text(
    prompt: list[int], fit: PromptFit, reason: FitReason | None
) -> None:
    chain = PromptChain(spell)
    first, second = Turn(index=0, token_ids=[7, 2, 3, 5]), Turn(index=1, token_ids=[8])
    chain.add(first, [1])
    chain.add(second, prompt)
    assert (second.prompt_fit, second.prompt_fit_reason) == (fit, reason)
    assert first.prompt_fit is None
    assert len(build_sequences([first, second])) == (1 if fit is PromptFit.EXTENDED else 2)
    assert list(whole_prompts([first, second])) == [[1], prompt]


def test_without_a_decoder_only_the_end_can_be_told_from_a_fork() -> None:
    assert fit_of_prompt([1, 2, 3, 5], 3, [1, 4, 5], 1) == (PromptFit.FORKED, FitReason.REPLY_REWRITTEN)
    assert fit_of_prompt([1, 2, 3, 5], 3, [1, 2, 3, 9], 3) == (PromptFit.REALIGNED, FitReason.OTHER_END)


def test_a_text_that_cannot_be_told_is_forked() -> None:
    broken = {2: "\ufffd", 4: "\ufffd"}
    fit, reason = fit_of_prompt(
        [1, 2, 5], 2, [1, 4, 5], 1, lambda ids: "".join(broken.get(i, "x") for i in ids)
    )
    assert (fit, reason) == (PromptFit.FORKED, FitReason.REPLY_REWRITTEN)


def test_a_rendered_prompt_that_does_not_extend_names_its_reason() -> None:
    chain = PromptChain()
    turns = [Turn(index=0, token_ids=[2]), Turn(index=1, token_ids=[3])]
    chain.add(turns[0], [1])
    chain.add(turns[1], [1, 8, 2], rerendered=True)
    assert turns[1].prompt_fit_reason is FitReason.RERENDERED


def test_a_dropped_stop_leaves_ids_logprobs_and_versions_together() -> None:
    chain = PromptChain()
    turn = Turn(index=0, token_ids=[2, 9], logprobs=[-0.5, -1.5], weight_versions=[VersionSpan("7", 0, 2)])
    chain.add(turn, [1])
    chain.drop_stop(turn)
    assert (turn.token_ids, turn.logprobs, turn.dropped_stop) == ([2], [-0.5], DroppedToken(9, -1.5))
    assert turn.weight_versions == [VersionSpan("7", 0, 1)]
    assert (chain.token_ids, chain.sampled) == ([1, 2], 1)
    following = Turn(index=1, token_ids=[3], logprobs=[-0.1])
    chain.add(following, [1, 2, 5])
    (sequence,) = build_sequences([turn, following])
    assert (sequence.token_ids, sequence.loss_mask) == ([1, 2, 5, 3], [0, 1, 0, 1])


def test_an_empty_reply_has_no_stop_to_drop() -> None:
    chain = PromptChain()
    turn = Turn(index=0, token_ids=[], logprobs=[])
    chain.add(turn, [1, 2])
    with pytest.raises(ValueError, match="no sampled token"):
        chain.drop_stop(turn)
    assert chain.token_ids == [1, 2]


def test_spans_give_each_token_its_version_and_an_uncertain_one_gives_none() -> None:
    turns = turns_from([([1], [2, 3, 4]), ([1, 2, 3, 4, 6], [5, 6]), ([1, 2, 3, 4, 6, 5, 6], [7])])
    turns[0].weight_versions = [VersionSpan("a", 0, 1), VersionSpan("b", 1, 3)]
    turns[1].weight_versions = [VersionSpan("b", 0, 2, until="c")]
    turns[2].weight_version = "c"
    (sequence,) = build_sequences(turns)
    assert sequence.weight_versions == ["a", "a", "b", "b", None, None, None, "c"]
    counts = count_fits(turns)
    assert counts["turns_version_uncertain"] == 1.0
