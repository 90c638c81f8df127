"""From the likeliest tokens that a server names, and what was stated, to the law that they are drawn by.

The invariant: in an honest run, a token that is kept has exactly the probabilities of its row. Where a cut or
another temperature was stated, only tokens that surely lie within it are kept, with their probabilities among
themselves: these do not hang on where exactly the server cut, in which order, or how it rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollway.inference.sampling_fields import shaped_by

Floats = NDArray[np.float64]

GREEDY_BELOW = 1e-5
"""Temperatures under this draw nothing."""

_DONE_RIGHT = frozenset({"temperature", "top_k", "top_p", "min_p"})
_NEAR = 1.1  # probabilities this close (a tenth of a nat) may stand in either order on the server
_NEAR_MASS = 0.02  # of a top_p
_LEAST_LAST = 1e-4  # so that what rounding leaves beyond the likeliest weighs nothing at high temperatures


class Draw(NamedTuple):
    """A sampled token and the likeliest ones at its place."""

    logprobs: Sequence[float]  # of the likeliest, most likely first
    place: int  # the token's own among them, from 0; their number where it is none of them
    seen: Sequence[bool]  # which of them the context had already


class Law(NamedTuple):
    """How tokens were drawn, one row each."""

    head: Floats  # (tokens, top): probabilities of the likeliest, falling
    total: Floats  # (tokens, top): summed up
    rest: Floats  # (tokens,): mass beyond them; 0 where all is known
    last: Floats  # (tokens,): what a token beyond them is taken to have; 0 where there is none
    place: NDArray[np.int64]  # (tokens,): the token's column; ``top``: beyond
    seen: NDArray[np.bool_]  # (tokens, top)


def reason_untested(stated: Mapping[str, Any]) -> str | None:
    """Why tokens that were drawn so cannot be held against a distribution; None: they can."""
    shaped = shaped_by(stated)
    if float(shaped.get("temperature", 1.0)) < GREEDY_BELOW:
        return "temperature 0: nothing was drawn"
    others = [name for name in shaped if name not in _DONE_RIGHT]
    return f"drawn with {', '.join(others)}" if others else None


def law_of(draws: Sequence[Draw], stated: Mapping[str, Any], top: int) -> Law:
    """The law of those draws that can be judged; the others are left out."""
    head = np.exp(np.array([draw.logprobs for draw in draws], np.float64).reshape(len(draws), top))
    place = np.array([draw.place for draw in draws], np.int64)
    seen = np.array([draw.seen for draw in draws], bool).reshape(len(draws), top)
    shaped = shaped_by(stated)
    if not shaped:
        total = head.cumsum(axis=1)
        rest = np.maximum(1.0 - total[:, -1], 0.0)
        return Law(head, total, rest, np.maximum(head[:, -1], _LEAST_LAST), place, seen)
    power = 1.0 / float(shaped.get("temperature", 1.0))
    with np.errstate(divide="ignore"):
        weights = np.exp(power * (np.log(head) - np.log(head[:, :1])))
    # llama.cpp cuts before it applies the temperature, the others after: within both is surely within.
    kept = np.minimum(_surely_kept(weights, shaped), _surely_kept(head, shaped))
    judged = place < kept
    weights = np.where(np.arange(top) < kept[:, None], weights, 0.0)[judged]
    weights /= weights.sum(axis=1, keepdims=True)
    nothing = np.zeros(len(weights))
    return Law(weights, weights.cumsum(axis=1), nothing, nothing, place[judged], seen[judged])


def _surely_kept(weights: Floats, shaped: Mapping[str, Any]) -> NDArray[np.int64]:
    """How many of the likeliest no order of these cuts and no rounding leaves out."""
    top = weights.shape[1]
    keep = np.ones_like(weights, bool)
    if "min_p" in shaped:
        keep &= weights >= _NEAR * float(shaped["min_p"]) * weights[:, :1]
    if 0 < (top_k := int(shaped.get("top_k", 0))) < top:
        keep &= weights > _NEAR * weights[:, top_k : top_k + 1]
    if "top_p" in shaped:
        left = np.where(keep, weights, 0.0)
        before = left.cumsum(axis=1) - left
        keep &= before < (float(shaped["top_p"]) - _NEAR_MASS) * left.sum(axis=1, keepdims=True)
    keep[:, 0] = True
    found: NDArray[np.int64] = keep.cumprod(axis=1).sum(axis=1)
    return found
