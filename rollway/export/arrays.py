"""Token sequences as NumPy arrays, one sequence at a time: checked, and truncated on request.

The invariant: every sampled token keeps its own logprob, advantage, turn and weight version, and only
`truncate` cuts tokens, with a count. Lists of different lengths are an error and are never adjusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rollway.trajectory import TokenSequence, Trajectory

Integers = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

MissingLogprobs = Literal["error", "nan"]
"""What becomes of a sequence without logprobs: a `ValueError`, or NaN at its sampled tokens."""

UNKNOWN = -1
"""The code of a weight version that is not named or uncertain, and of places that hold no token."""

FIELDS = ("token_ids", "loss_mask", "logprobs", "advantages", "turn_index", "version_codes")
"""The arrays that every form of a sequence has."""


@dataclass(frozen=True)
class TokenArrays:
    """One sequence. All arrays have the shape (tokens,).

    Where the mask is False, logprobs and advantages are 0.
    """

    token_ids: Integers
    loss_mask: Mask  # True: sampled by the policy, to be trained on
    logprobs: Floats  # at sampling, natural log; NaN where they are missing and that was allowed
    advantages: Floats
    turn_index: Codes
    version_codes: Codes  # index into `versions`, or UNKNOWN
    versions: tuple[str, ...]  # the weights' names

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True)
class Truncation:
    """What `truncate` cut off."""

    sequences: int  # that were longer than allowed
    tokens: int
    sampled_tokens: int  # of them those that would have been trained on


def sequence_arrays(
    sequence: TokenSequence, *, advantage: float, missing_logprobs: MissingLogprobs = "error"
) -> TokenArrays:
    """One sequence as arrays, with ``advantage`` at each sampled token.

    Raises:
        ValueError: its lists differ in length, its mask is not 0 and 1, its first token is marked as sampled
            (nothing would predict it), a logprob of a sampled token is not finite, or it has no
            logprobs and ``missing_logprobs`` is "error".
    """
    _check_lengths(sequence)
    mask = np.array(sequence.loss_mask, np.int64)
    if not np.isin(mask, (0, 1)).all():
        raise ValueError("loss_mask must hold 0 and 1 only")
    if mask[:1].any():
        raise ValueError("the first token of a sequence is marked as sampled, but has no context")
    sampled = mask.astype(np.bool_)
    names = sequence.weight_versions or [None] * len(mask)
    versions = tuple(dict.fromkeys(name for name in names if name is not None))
    codes = {name: code for code, name in enumerate(versions)}
    return TokenArrays(
        token_ids=np.array(sequence.token_ids, np.int64),
        loss_mask=sampled,
        logprobs=_logprobs(sequence, sampled, missing_logprobs),
        advantages=np.where(sampled, np.float32(advantage), np.float32(0)),
        turn_index=np.array(sequence.turn_index, np.int32),
        version_codes=np.array([UNKNOWN if name is None else codes[name] for name in names], np.int32),
        versions=versions,
    )


def trajectory_arrays(
    trajectory: Trajectory, *, missing_logprobs: MissingLogprobs = "error"
) -> list[TokenArrays]:
    """All sequences of a trajectory, with its advantage.

    Raises:
        ValueError: it has no advantage (it was not scored, or its group is not complete), or as for
            `sequence_arrays`.
    """
    if trajectory.advantage is None:
        raise ValueError(f"trajectory {trajectory.id!r} has no advantage; set one or skip the trajectory")
    try:
        return [
            sequence_arrays(sequence, advantage=trajectory.advantage, missing_logprobs=missing_logprobs)
            for sequence in trajectory.sequences
        ]
    except ValueError as error:
        raise ValueError(f"trajectory {trajectory.id!r}: {error}") from None


def truncate(sequences: Sequence[TokenArrays], length: int) -> tuple[list[TokenArrays], Truncation]:
    """The first ``length`` tokens of each, and what was cut.

    It cuts the end, never the beginning, so that every token keeps its context.

    Raises:
        ValueError: ``length`` is below 1.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    kept, longer, tokens, sampled = [], 0, 0, 0
    for sequence in sequences:
        if len(sequence) > length:
            longer += 1
            tokens += len(sequence) - length
            sampled += int(sequence.loss_mask[length:].sum())
        kept.append(_part(sequence, slice(0, length)))
    return kept, Truncation(longer, tokens, sampled)


def _check_lengths(sequence: TokenSequence) -> None:
    length = len(sequence.token_ids)
    for name in ("loss_mask", "turn_index", "logprobs", "weight_versions"):
        values = getattr(sequence, name)
        if values is not None and len(values) != length:
            raise ValueError(f"a sequence has {length} token ids, but {len(values)} entries in {name}")


def _logprobs(sequence: TokenSequence, sampled: Mask, missing: MissingLogprobs) -> Floats:
    if sequence.logprobs is not None:
        logprobs = np.array(sequence.logprobs, np.float32)
        if not np.isfinite(logprobs[sampled]).all():
            raise ValueError("the logprob of a sampled token is not finite")
        return np.where(sampled, logprobs, np.float32(0))
    if missing == "error":
        raise ValueError(
            'a sequence has no logprobs; skip it, or pass missing_logprobs="nan" and compute your own'
        )
    return np.where(sampled, np.float32(np.nan), np.float32(0))


def _part(sequence: TokenArrays, places: slice) -> TokenArrays:
    fields = {name: getattr(sequence, name)[places] for name in FIELDS}
    return TokenArrays(**fields, versions=sequence.versions)
