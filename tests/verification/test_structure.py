"""A record whose turns and sequences disagree is found out, whatever the disagreement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rollway.sequences import build_sequences
from rollway.trajectory import DroppedToken, PromptFit, Trajectory, Untrainable, Usage, VersionSpan
from rollway.verification import Begun, Mismatch
from rollway.verification.structure import check_structure

STEPS = [
    ([1, 2, 3], [10, 11]),
    ([1, 2, 3, 10, 11, 4], [12, 13, 14]),
    ([1, 2, 3, 4, 5], [15]),  # the history was rewritten
]


@pytest.fixture
def trajectory(make) -> Trajectory:
    return make(STEPS)


def kinds(trajectory: Trajectory) -> list[Mismatch]:
    return [mismatch.kind for mismatch in check_structure(trajectory).mismatches]


def test_what_the_loop_records_holds(trajectory: Trajectory) -> None:
    structure = check_structure(trajectory)
    assert structure.mismatches == []
    assert structure.begun == [Begun.FIRST, Begun.FORKED]
    assert structure.fits == ["extended", "forked: history_changed"]
    assert [(span.sequence, span.turn, span.start, span.stop) for span in structure.spans] == [
        (0, 0, 3, 5),
        (0, 1, 6, 9),
        (1, 2, 5, 6),
    ]


small = st.lists(st.integers(0, 3), max_size=4)


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 3), min_size=1, max_size=5), small), max_size=6)
)
def test_any_conversation_that_is_recorded_as_it_was_holds(steps) -> None:
    from rollway.sequences import PromptChain
    from rollway.trajectory import Turn

    chain, trajectory = PromptChain(), Trajectory(id="any", messages=[])
    for index, (extends, ids, sampled) in enumerate(steps):
        prompt = [*chain.token_ids, *ids] if extends else ids
        turn = Turn(index=index, token_ids=sampled, logprobs=[-1.0] * len(sampled))
        chain.add(turn, prompt)
        trajectory.turns.append(turn)
    trajectory.sequences = build_sequences(trajectory.turns)
    structure = check_structure(trajectory)
    assert structure.mismatches == []
    assert sum(span.stop - span.start for span in structure.spans) == sum(len(s) for _, _, s in steps)


def drop_a_sequence(record: Trajectory) -> None:
    del record.sequences[1]


def repeat_a_sequence(record: Trajectory) -> None:
    record.sequences.append(record.sequences[1])


def mask_one_token_less(record: Trajectory) -> None:
    record.sequences[0].loss_mask[7] = 0
    record.sequences[0].logprobs[7] = 0.0


def mask_a_tool_token(record: Trajectory) -> None:
    record.sequences[0].loss_mask[5] = 1


def change_a_sampled_id(record: Trajectory) -> None:
    record.sequences[0].token_ids[6] = 99


def change_a_logprob(record: Trajectory) -> None:
    record.sequences[0].logprobs[6] -= 0.5


def change_the_context(record: Trajectory) -> None:
    record.sequences[0].token_ids[5] = 99


def drop_a_context_token(record: Trajectory) -> None:
    sequence = record.sequences[0]
    for values in (sequence.token_ids, sequence.loss_mask, sequence.turn_index, sequence.logprobs):
        del values[5]


def double_the_end_token(record: Trajectory) -> None:
    sequence = record.sequences[0]
    sequence.token_ids.insert(5, 11)
    sequence.loss_mask.insert(5, 0)
    sequence.turn_index.insert(5, 1)
    sequence.logprobs.insert(5, 0.0)


def swap_turn_numbers(record: Trajectory) -> None:
    record.sequences[0].turn_index[:] = [1 - turn for turn in record.sequences[0].turn_index]


def invent_a_version(record: Trajectory) -> None:
    record.sequences[0].weight_versions = ["w"] * len(record.sequences[0].token_ids)


def call_a_trained_turn_untrainable(record: Trajectory) -> None:
    record.turns[1].untrainable = Untrainable.LENGTH_MISMATCH


def lose_the_ids_of_a_turn(record: Trajectory) -> None:
    record.turns[2].token_ids = None


def share_more_than_there_is(record: Trajectory) -> None:
    record.turns[1].prompt_shared = 6


def count_another_prompt(record: Trajectory) -> None:
    record.turns[1].usage = replace(record.turns[1].usage, prompt_tokens=7)


def shorten_the_mask(record: Trajectory) -> None:
    record.sequences[0].loss_mask.pop()


def weigh_the_mask(record: Trajectory) -> None:
    record.sequences[0].loss_mask[4] = 2


def name_a_turn_that_is_not(record: Trajectory) -> None:
    record.sequences[1].turn_index[-1] = 3


def sample_the_first_token(record: Trajectory) -> None:
    record.sequences[1].loss_mask[0] = 1


def pad_logprobs_of_context(record: Trajectory) -> None:
    record.sequences[0].logprobs[0] = 1.0


@pytest.mark.parametrize(
    ("damage", "kind", "turn", "tokens"),
    [
        (drop_a_sequence, Mismatch.NOT_IN_ONE_SEQUENCE, 2, 1),
        (repeat_a_sequence, Mismatch.NOT_IN_ONE_SEQUENCE, 2, 1),
        (mask_one_token_less, Mismatch.NOT_IN_ONE_SEQUENCE, 1, 3),
        (mask_a_tool_token, Mismatch.OTHER_TOKENS, 1, 3),
        (change_a_sampled_id, Mismatch.OTHER_TOKENS, 1, 3),
        (change_a_logprob, Mismatch.OTHER_TOKENS, 1, 3),
        (change_the_context, Mismatch.OTHER_CONTEXT, 1, 3),
        (drop_a_context_token, Mismatch.OTHER_CONTEXT, 1, 3),
        (double_the_end_token, Mismatch.OTHER_CONTEXT, 1, 3),
        (swap_turn_numbers, Mismatch.OTHER_TOKENS, 0, 2),
        (invent_a_version, Mismatch.OTHER_TOKENS, 0, 2),
        (call_a_trained_turn_untrainable, Mismatch.UNTRAINABLE_TRAINED, 1, 3),
        (lose_the_ids_of_a_turn, Mismatch.NOT_IN_ONE_SEQUENCE, 2, 0),
        (share_more_than_there_is, Mismatch.PROMPT, 1, 3),
        (count_another_prompt, Mismatch.PROMPT_LENGTH, 1, 3),
        (shorten_the_mask, Mismatch.MALFORMED, None, 0),
        (weigh_the_mask, Mismatch.MALFORMED, None, 0),
        (name_a_turn_that_is_not, Mismatch.MALFORMED, None, 0),
        (sample_the_first_token, Mismatch.MALFORMED, None, 0),
        (pad_logprobs_of_context, Mismatch.MALFORMED, None, 0),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_damage_is_found_at_its_turn(trajectory: Trajectory, damage, kind, turn, tokens) -> None:
    damage(trajectory)
    first = check_structure(trajectory).mismatches[0]
    assert (first.kind, first.turn, first.tokens) == (kind, turn, tokens)
    assert (first.trajectory_id, first.task_id, first.sample_index) == ("one", "t0", 0)
    assert first.detail


def test_a_turn_is_counted_once_however_much_is_wrong_with_it(trajectory: Trajectory) -> None:
    change_a_sampled_id(trajectory)
    change_the_context(trajectory)
    mask_a_tool_token(trajectory)
    turns = [mismatch.turn for mismatch in check_structure(trajectory).mismatches]
    assert turns == [1]


def test_turns_with_a_reason_not_to_be_trained_on_are_no_mismatch(trajectory: Trajectory) -> None:
    trajectory.turns[1].token_ids = None
    trajectory.turns[1].untrainable = Untrainable.NO_TOKEN_IDS
    trajectory.turns[2].prompt_shared, trajectory.turns[2].prompt_token_ids = 0, STEPS[2][0]
    trajectory.sequences = build_sequences(trajectory.turns)
    structure = check_structure(trajectory)
    assert structure.mismatches == []
    assert structure.begun == [Begun.FIRST, Begun.AFTER_UNTRAINABLE]


def test_a_stop_token_that_was_taken_off_is_no_mismatch(make) -> None:
    trajectory = make([([1, 2], [10]), ([1, 2, 10, 3], [11])])
    trajectory.turns[0].dropped_stop = DroppedToken(token_id=12, logprob=-0.5)
    trajectory.turns[0].usage = Usage(prompt_tokens=2, completion_tokens=2)
    assert kinds(trajectory) == []


def test_versions_of_spans_stand_at_their_tokens(make) -> None:
    spans = [VersionSpan("a", 0, 1), VersionSpan("a", 1, 2, until="b"), VersionSpan("b", 2, 3)]
    trajectory = make([([1, 2], [10, 11, 12])], versions=[spans])
    assert trajectory.sequences[0].weight_versions[2:] == ["a", None, "b"]
    assert kinds(trajectory) == []
    trajectory.sequences[0].weight_versions[3] = "b"
    assert kinds(trajectory) == [Mismatch.OTHER_TOKENS]


def test_how_prompts_follow_is_found_out_where_the_record_does_not_say(trajectory: Trajectory) -> None:
    for turn in trajectory.turns:
        turn.prompt_fit = turn.prompt_fit_reason = None
    assert check_structure(trajectory).fits == ["extended", "forked: history_changed"]
    trajectory.turns[2].prompt_fit = PromptFit.REALIGNED
    assert check_structure(trajectory).begun == [Begun.FIRST, Begun.REALIGNED]
