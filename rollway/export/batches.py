"""Sequences in rows for a training step: padded or packed, and shifted to targets.

The invariant: every token is in exactly one place, and `unpack` returns the same sequences in the same
order. Nothing is cut: a sequence that does not fit is an error.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rollway.export.arrays import FIELDS, UNKNOWN, Codes, Floats, Integers, Mask, TokenArrays


@dataclass(frozen=True)
class Batch:
    """Sequences in rows. All arrays have the shape (rows, length).

    At padding: ``pad_id``, segment 0, mask False, codes and turns UNKNOWN, all else 0.
    """

    token_ids: Integers
    loss_mask: Mask
    logprobs: Floats
    advantages: Floats
    turn_index: Codes
    version_codes: Codes
    position_ids: Integers  # from 0 in each sequence; 0 where no token stands
    segment_ids: Codes  # 1, 2, ... for the sequences of a row: a token attends to its own segment only
    origins: tuple[tuple[int, ...], ...]  # for each row: which of the sequences its segments are
    versions: tuple[str, ...]
    pad_id: int

    @property
    def fill(self) -> float:
        """The share of places that hold a token."""
        return float((self.segment_ids > 0).mean()) if self.segment_ids.size else 0.0


@dataclass(frozen=True)
class Targets:
    """What each place of a batch predicts. All arrays have the batch's shape.

    Entry t describes the token after t in the same segment. Without one, it is as at padding.
    """

    token_ids: Integers
    loss_mask: Mask
    logprobs: Floats
    advantages: Floats
    turn_index: Codes
    version_codes: Codes


def pad(
    sequences: Sequence[TokenArrays], *, pad_id: int, length: int | None = None, multiple_of: int = 1
) -> Batch:
    """One sequence per row, padded at the end with ``pad_id``.

    Args:
        length: of the rows; None for the longest sequence's, rounded up to ``multiple_of``.

    Raises:
        ValueError: a sequence is longer than ``length``.
    """
    if length is None:
        longest = max((len(sequence) for sequence in sequences), default=0)
        length = max(-(-longest // multiple_of) * multiple_of, 1)
    _check_fit(sequences, length)
    return _batch(sequences, [[index] for index in range(len(sequences))], length, pad_id)


def pack(sequences: Sequence[TokenArrays], *, length: int, pad_id: int) -> Batch:
    """As few rows of ``length`` as best-fit decreasing finds, each with as many sequences as fit.

    Empty sequences are kept: `unpack` returns as many as went in.

    Raises:
        ValueError: a sequence is longer than ``length``.
    """
    _check_row(length)
    _check_fit(sequences, length)
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (places left, row), ascending
    for index in sorted(range(len(sequences)), key=lambda index: -len(sequences[index])):
        need = len(sequences[index])
        place = bisect_left(free, (need, -1))
        left, row = free.pop(place) if place < len(free) else (length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
        insort(free, (left - need, row))
    return _batch(sequences, rows, length, pad_id)


def unpack(batch: Batch) -> list[TokenArrays]:
    """The sequences of a padded or packed batch, in their original order."""
    found: dict[int, TokenArrays] = {}
    for row, origins in enumerate(batch.origins):
        for segment, origin in enumerate(origins, 1):
            places = batch.segment_ids[row] == segment
            fields = {name: getattr(batch, name)[row][places] for name in FIELDS}
            found[origin] = TokenArrays(**fields, versions=batch.versions)
    return [found[origin] for origin in sorted(found)]


def shift(batch: Batch) -> Targets:
    """For each place the next token of its segment: what a model predicts after reading up to there.

    No sampled token is lost: none is the first of its segment.
    """
    follows = np.zeros(batch.segment_ids.shape, np.bool_)
    same = batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1]
    follows[:, :-1] = same & (batch.segment_ids[:, 1:] > 0)
    fields: dict[str, Any] = {}
    for name, (value, dtype) in _no_token(batch.pad_id).items():
        moved = np.roll(getattr(batch, name), -1, axis=1)
        fields[name] = np.where(follows, moved, np.array(value, dtype))
    return Targets(**fields)


def _no_token(pad_id: int) -> dict[str, tuple[Any, Any]]:
    """What stands where no token does, and the type of each array."""
    return {
        "token_ids": (pad_id, np.int64),
        "loss_mask": (False, np.bool_),
        "logprobs": (0.0, np.float32),
        "advantages": (0.0, np.float32),
        "turn_index": (UNKNOWN, np.int32),
        "version_codes": (UNKNOWN, np.int32),
    }


def _check_row(length: int) -> None:
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")


def _check_fit(sequences: Sequence[TokenArrays], length: int) -> None:
    for index, sequence in enumerate(sequences):
        if len(sequence) > length:
            raise ValueError(
                f"sequence {index} has {len(sequence)} tokens, but a row holds {length}; truncate or skip it"
            )


def _batch(
    sequences: Sequence[TokenArrays], rows: Sequence[Sequence[int]], length: int, pad_id: int
) -> Batch:
    versions = tuple(dict.fromkeys(name for sequence in sequences for name in sequence.versions))
    shape = (len(rows), length)
    segments, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int64)
    filled: dict[str, Any] = {
        name: np.full(shape, value, dtype) for name, (value, dtype) in _no_token(pad_id).items()
    }
    for row, members in enumerate(rows):
        start = 0
        for segment, index in enumerate(members, 1):
            sequence = sequences[index]
            places = slice(start, start + len(sequence))
            for name in FIELDS:
                filled[name][row, places] = getattr(sequence, name)
            filled["version_codes"][row, places] = _recoded(sequence, versions)
            segments[row, places] = segment
            positions[row, places] = np.arange(len(sequence))
            start = places.stop
    origins = tuple(tuple(members) for members in rows)
    return Batch(
        **filled,
        position_ids=positions,
        segment_ids=segments,
        origins=origins,
        versions=versions,
        pad_id=pad_id,
    )


def _recoded(sequence: TokenArrays, versions: Sequence[str]) -> Codes:
    """The sequence's version codes as indices into the batch's names."""
    own = [versions.index(name) for name in sequence.versions]
    table = np.array([*own, UNKNOWN], np.int32)  # UNKNOWN, which is -1, finds the last
    return table[sequence.version_codes]
