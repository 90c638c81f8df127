"""Rows hold every sequence once and whole, and give it back; targets are the next tokens of a sequence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from rollway.export import UNKNOWN, Batch, TokenArrays, pack, pad, sequence_arrays, shift, unpack
from rollway.trajectory import TokenSequence

PAD = 99
LONGEST = 12


@st.composite
def arrays(draw: st.DrawFn) -> TokenArrays:
    size = draw(st.integers(0, LONGEST))
    mask = [0, *draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))][:size]
    names = st.sampled_from(["a", "b", "c", None])
    sequence = TokenSequence(
        token_ids=draw(st.lists(st.integers(0, PAD), min_size=size, max_size=size)),
        loss_mask=mask,
        turn_index=sorted(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))),
        logprobs=[-float(draw(st.integers(1, 50))) if bit else 0.0 for bit in mask],
        weight_versions=draw(st.none() | st.lists(names, min_size=size, max_size=size)),
    )
    return sequence_arrays(sequence, advantage=draw(st.floats(-3, 3, width=32)))


def names_of(arrays: TokenArrays) -> list[str | None]:
    return [None if code == UNKNOWN else arrays.versions[code] for code in arrays.version_codes]


def assert_same(left: TokenArrays, right: TokenArrays) -> None:
    for field in ("token_ids", "loss_mask", "logprobs", "advantages", "turn_index"):
        assert_array_equal(getattr(left, field), getattr(right, field))
        assert getattr(left, field).dtype == getattr(right, field).dtype
    assert names_of(left) == names_of(right)


def batches(sequences: list[TokenArrays], length: int) -> list[Batch]:
    return [
        pack(sequences, length=length, pad_id=PAD),
        pad(sequences, length=length, pad_id=PAD),
        pad(sequences, pad_id=PAD, multiple_of=4),
    ]


@given(st.lists(arrays(), max_size=8), st.integers(LONGEST, 3 * LONGEST))
def test_what_was_packed_or_padded_comes_back_whole_and_in_order(
    sequences: list[TokenArrays], length: int
) -> None:
    for batch in batches(sequences, length):
        back = unpack(batch)
        assert len(back) == len(sequences)
        for before, after in zip(sequences, back, strict=True):
            assert_same(before, after)


@given(st.lists(arrays(), max_size=8), st.integers(LONGEST, 3 * LONGEST))
def test_places_without_a_token_hold_nothing_to_train_on(sequences: list[TokenArrays], length: int) -> None:
    for batch in batches(sequences, length):
        empty = batch.segment_ids == 0
        assert empty.sum() == empty.size - sum(map(len, sequences))
        assert (batch.token_ids[empty] == PAD).all()
        assert not batch.loss_mask[empty].any()
        assert not batch.advantages[empty].any()
        assert (batch.version_codes[empty] == UNKNOWN).all()


@given(st.lists(arrays(), max_size=8), st.integers(LONGEST, 3 * LONGEST))
def test_every_sampled_token_is_a_target_exactly_once(sequences: list[TokenArrays], length: int) -> None:
    sampled = sorted(
        (int(token), float(logprob), float(advantage), int(turn))
        for one in sequences
        for token, logprob, advantage, turn, bit in zip(
            one.token_ids, one.logprobs, one.advantages, one.turn_index, one.loss_mask, strict=True
        )
        if bit
    )
    for batch in batches(sequences, length):
        targets = shift(batch)
        where = targets.loss_mask
        fields = (targets.token_ids, targets.logprobs, targets.advantages, targets.turn_index)
        found = zip(*(values[where].tolist() for values in fields), strict=True)
        assert sorted(found) == sampled


@given(st.lists(arrays(), min_size=1, max_size=8), st.integers(LONGEST, 3 * LONGEST))
def test_a_target_is_the_next_token_of_the_same_sequence(sequences: list[TokenArrays], length: int) -> None:
    batch = pack(sequences, length=length, pad_id=PAD)
    targets = shift(batch)
    for row in range(len(batch.token_ids)):
        for place in range(length):
            segment = batch.segment_ids[row, place]
            last = place + 1 == length or batch.segment_ids[row, place + 1] != segment
            if segment == 0 or last:
                assert targets.token_ids[row, place] == PAD
                assert not targets.loss_mask[row, place]
            else:
                assert targets.token_ids[row, place] == batch.token_ids[row, place + 1]
                assert targets.loss_mask[row, place] == batch.loss_mask[row, place + 1]
                assert batch.position_ids[row, place + 1] == batch.position_ids[row, place] + 1


@settings(max_examples=50)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_packing_wastes_less_than_half_of_all_rows_but_one(sizes: list[int]) -> None:
    """Best fit: no two rows could be one, so all but one are more than half full."""
    batch = pack([plain(size) for size in sizes], length=100, pad_id=PAD)
    full = (batch.segment_ids > 0).sum(axis=1)
    assert np.count_nonzero(full <= 50) <= 1
    assert batch.fill == pytest.approx(sum(sizes) / (100 * len(full)))


def plain(size: int) -> TokenArrays:
    mask = [0] * size
    sequence = TokenSequence(token_ids=mask, loss_mask=mask, turn_index=mask, logprobs=[0.0] * size)
    return sequence_arrays(sequence, advantage=1.0)


@pytest.mark.parametrize("put", [pack, pad])
def test_a_sequence_that_does_not_fit_is_an_error_and_never_cut(put) -> None:
    with pytest.raises(ValueError, match="sequence 1 has 9 tokens, but a row holds 8"):
        put([plain(3), plain(9)], length=8, pad_id=PAD)


def test_no_sequences_make_no_rows() -> None:
    assert pack([], length=8, pad_id=PAD).token_ids.shape == (0, 8)
    assert unpack(pad([], pad_id=PAD)) == []


def test_padding_rounds_the_length_up() -> None:
    assert pad([plain(5), plain(9)], pad_id=PAD, multiple_of=8).token_ids.shape == (2, 16)
