"""How likely tokens are where they stand: what a server is asked for, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Asked(NamedTuple):
    """What a server is asked: the tokens from ``start`` on, and the ``top`` likeliest ones at each place."""

    model: str
    token_ids: Sequence[int]
    start: int
    top: int


class Candidate(NamedTuple):
    """A token that could stand in a place."""

    token_id: int
    logprob: float


class Scored(NamedTuple):
    """How likely a token was where it stands."""

    logprob: float
    likeliest: list[Candidate]
    """As many as were asked for, most likely first; the token itself may not be one."""
