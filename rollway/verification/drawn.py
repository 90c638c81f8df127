"""Were the tokens drawn from the distribution on record? Bets against it, which an honest run must lose.

The invariant: at every token a bet multiplies its stake by the token's probability under an alternative over
that under the record. Under the record a stake does not grow on average, whatever was drawn before and
wherever a rollout ended, so that 1 ever becomes 1/alpha with a chance of at most alpha (Ville's inequality;
Shafer 2021, "Testing by betting", JRSS A 184, 407-431).

Two kinds of bets. One says that only a fraction f of the tokens beyond a cut is left: f^N / prod(1 - q + fq),
with N tokens beyond the cut and the mass q there at each token. That is Chernoff's bound of the
Poisson-binomial tail P(count <= N), and with N = 0 and f = 0 the tail itself. The other names a temperature
T: the product of p^(1/T) / sum p^(1/T) over p, Chernoff's bound for the surprise -log p against the entropy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollway.inference.scored import Candidate
from rollway.verification.laws import Draw, Law, law_of, reason_untested
from rollway.verification.records import CutCount, Drawn

FALSE_ALARM = 1e-4
"""At most this share of honest runs is called unsound."""

TOP = 20
"""Likeliest tokens to ask for at each place: the most that vLLM gives unless it is told otherwise."""

_ROUNDING = 1e-6  # of a mass: a sum of float32 probabilities that went through JSON
_BLOCK = 2048  # tokens that are worked on at a time
_LEAST_LOG = -100.0

Floats = NDArray[np.float64]

_TOP_K = (1, 2, 5, 10, 20)
_TOP_P = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
_MIN_P = (0.2, 0.1, 0.05, 0.02, 0.01)
_FRACTIONS = (0.0, 0.05, 0.3)  # of the tokens beyond a cut that are left
_REPEATED = (0.3, 0.6, 0.85)  # likewise of those that the context has already
_LOWER, _HIGHER = (0.3, 0.6, 0.8, 0.9), (1.1, 1.25, 1.6)  # temperatures, times the stated one


class Bet(NamedTuple):
    """An alternative to the distribution on record, and its share of the stake. All shares together are 1."""

    kind: str  # "top_k", "top_p", "min_p", "repeated" or "temperature"
    value: float  # the cut, or the temperature
    fraction: float  # of the tokens beyond the cut that are left; 1 for a temperature
    share: float


def _bets(top: int) -> list[Bet]:
    """The stake lies where the evidence is thinnest: on nothing beyond the last token that is seen, which has
    the least mass, and on temperatures, which leave every token possible."""
    top_ks = sorted({k for k in _TOP_K if k < top} | {top})
    bets = [Bet("top_k", top, 0.0, 0.3)]
    for kind, values, fractions, share in (
        ("top_k", top_ks, _FRACTIONS, 0.1),
        ("top_p", _TOP_P, _FRACTIONS, 0.05),
        ("min_p", _MIN_P, _FRACTIONS, 0.05),
        ("repeated", (0.0,), _REPEATED, 0.05),
        ("temperature", _LOWER, (1.0,), 0.35),
        ("temperature", _HIGHER, (1.0,), 0.1),
    ):
        number = len(values) * len(fractions)
        bets += [Bet(kind, value, fraction, share / number) for value in values for fraction in fractions]
    return bets


class DrawTally:
    """Takes draws one by one, and knows at any moment what they say.

    Args:
        top: likeliest tokens that each draw comes with, at least 1.
    """

    def __init__(self, top: int) -> None:
        self.top = top
        self._bets = _bets(top)
        self._values = np.zeros(len(self._bets))  # log of what a stake of 1 has become
        self._expected: Counter[tuple[str, float]] = Counter()
        self._drawn: Counter[tuple[str, float]] = Counter()
        self._tokens = 0
        self._untested: Counter[str] = Counter()
        self._surprise = self._entropy = self._variance = 0.0
        self._waiting: list[tuple[Mapping[str, Any], list[Draw]]] = []
        self._held = 0

    def add(self, draws: Sequence[Draw], stated: Mapping[str, Any] | None) -> None:
        """Enter tokens of one rollout.

        Args:
            stated: what they were drawn with, as `Trajectory.sampling` says it; None where nothing says it.
        """
        reason = "not on record how they were drawn" if stated is None else reason_untested(stated)
        if reason is not None or stated is None:
            self._untested[reason or ""] += len(draws)
            return
        if self._waiting and self._waiting[-1][0] == stated:
            self._waiting[-1][1].extend(draws)
        else:
            self._waiting.append((stated, list(draws)))
        self._held += len(draws)
        if self._held >= _BLOCK:
            self._work()

    def result(self) -> Drawn:
        """What has been found so far."""
        self._work()
        logs = self._values + np.log([bet.share for bet in self._bets])
        best = int(logs.argmax())
        peak = logs[best]
        evidence = peak + math.log(np.exp(logs - peak).sum()) if math.isfinite(peak) else peak
        p_value = min(1.0, math.exp(-evidence)) if evidence > _LEAST_LOG else 1.0
        tokens = max(self._tokens, 1)
        return Drawn(
            tokens=self._tokens,
            untested=dict(self._untested.most_common()),
            likeliest=self.top,
            p_value=p_value,
            suspicion=self._suspicion(self._bets[best]) if p_value < FALSE_ALARM else None,
            cuts=self._cuts(),
            surprise=self._surprise / tokens,
            entropy=self._entropy / tokens,
            standard_error=math.sqrt(self._variance) / tokens,
            temperature=self._likeliest_temperature(),
        )

    def _work(self) -> None:
        waiting, self._waiting, self._held = self._waiting, [], 0
        for stated, draws in waiting:
            law = law_of(draws, stated, self.top)
            self._tokens += len(law.place)
            if dropped := len(draws) - len(law.place):
                self._untested["near the edge of what was stated"] += dropped
            if len(law.place):
                self._count_surprise(law)
                self._play(law)

    def _count_surprise(self, law: Law) -> None:
        probabilities = np.column_stack([law.head, law.rest])
        surprises = np.column_stack([-_log(law.head), -_log(law.last)])
        mean = (probabilities * surprises).sum(axis=1)
        self._surprise += float(surprises[np.arange(len(law.place)), law.place].sum())
        self._entropy += float(mean.sum())
        self._variance += float((probabilities * (surprises - mean[:, None]) ** 2).sum())

    def _play(self, law: Law) -> None:
        beyond: dict[tuple[str, float], tuple[Floats, NDArray[np.bool_]]] = {}
        for number, (kind, value, fraction, _) in enumerate(self._bets):
            if kind == "temperature":
                self._values[number] += _bet_on_temperature(law, value)
                continue
            if (kind, value) not in beyond:
                mass, there = beyond[kind, value] = _beyond(law, kind, value)
                self._expected[kind, value] += mass.sum()
                self._drawn[kind, value] += int(there.sum())
            self._values[number] += _bet_on_fraction(*beyond[kind, value], fraction)

    def _cuts(self) -> list[CutCount]:
        return [
            CutCount(
                cut=_name(kind, value),
                expected=float(expected),
                drawn=self._drawn[kind, value],
                tail=min(1.0, math.exp(-self._best_of(kind, value))),
            )
            for (kind, value), expected in self._expected.items()
        ]

    def _best_of(self, kind: str, value: float) -> float:
        values = zip(self._bets, self._values, strict=True)
        return max(0.0, *(float(log) for bet, log in values if (bet.kind, bet.value) == (kind, value)))

    def _likeliest_temperature(self) -> float:
        """Of those that were bet on, and 1."""
        values = zip(self._bets, self._values, strict=True)
        tried = [(float(log), bet.value) for bet, log in values if bet.kind == "temperature"]
        return max([(0.0, 1.0), *tried])[1]

    def _suspicion(self, bet: Bet) -> str:
        if bet.kind == "temperature":
            ratio = "lower" if bet.value < 1 else "higher"
            return (
                f"a surprise of {self._surprise / self._tokens:.4f} nats a token where the entropy is "
                f"{self._entropy / self._tokens:.4f}, as under a temperature that is {ratio} (about "
                f"{self._likeliest_temperature():g} times what is stated)"
            )
        key = (bet.kind, bet.value)
        where = _OUTSIDE[bet.kind].format(bet.value)
        cause = "a penalty on repetition" if bet.kind == "repeated" else f"a {bet.kind}, or another cut,"
        counts = f"{self._drawn[key]:,} tokens {where} where {self._expected[key]:,.1f} are expected"
        return f"{counts}, as under {cause} that is not stated"


_OUTSIDE = {
    "top_k": "beyond the {:g} likeliest",
    "top_p": "beyond the likeliest {:.4g} of the mass",
    "min_p": "under {:g} of the likeliest's probability",
    "repeated": "that their context has already",
}


def _name(kind: str, value: float) -> str:
    return kind if kind == "repeated" else f"{kind} {value:g}"


def _beyond(law: Law, kind: str, value: float) -> tuple[Floats, NDArray[np.bool_]]:
    """For each token the mass beyond a cut, and whether the token lies there.

    Where it cannot be told from the likeliest tokens what a cut leaves out, nothing is beyond it.
    """
    places, top = np.arange(len(law.place)), law.head.shape[1]
    if kind == "repeated":
        inside = np.where(law.place < top, law.seen[places, np.minimum(law.place, top - 1)], False)
        return (law.head * law.seen).sum(axis=1), inside
    if kind == "top_k":
        kept = np.full(len(places), min(int(value), top))
        known = np.ones(len(places), bool)
    elif kind == "top_p":
        kept = (law.total < value).sum(axis=1) + 1
        known = kept <= top
    else:
        kept = (law.head >= value * law.head[:, :1]).sum(axis=1)
        known = (kept < top) | (law.rest <= 0)
    kept = np.minimum(kept, top)
    mass = np.maximum(law.total[:, -1] + law.rest - law.total[places, kept - 1], 0.0)
    return np.where(known, mass, 0.0), known & (law.place >= kept)


def _bet_on_fraction(mass: Floats, there: NDArray[np.bool_], fraction: float) -> float:
    """Log of what the stake is multiplied by, if only ``fraction`` of the mass beyond a cut is left.

    With a mass that is too small the bet is worth less than it should be, never more.
    """
    least = np.maximum(mass - _ROUNDING, 0.0)
    hits = int(there.sum())
    won = -float(np.log1p(-(1.0 - fraction) * np.minimum(least, 1.0 - 1e-12)).sum())
    if hits == 0:
        return won
    return won + hits * math.log(fraction) if fraction > 0 else -math.inf


def _bet_on_temperature(law: Law, temperature: float) -> float:
    """Log of what the stake is multiplied by, if the stated temperature was ``temperature`` times as much.

    The tokens beyond the likeliest count as one, each taken to be as likely as ``law.last``.
    """
    power = 1.0 / temperature - 1.0
    head, last = _log(law.head), _log(law.last)
    rest = np.where(law.last > 0, law.rest + _ROUNDING, 0.0)
    weights = (law.head * np.exp(power * np.where(law.head > 0, head, 0.0))).sum(axis=1)
    norm = np.log(weights + rest * np.exp(power * last))
    both = np.column_stack([head, last])
    return float((power * both[np.arange(len(law.place)), law.place] - norm).sum())


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(values), _LEAST_LOG)


def draw_of(
    token_id: int, likeliest: Sequence[Candidate], first_seen: Mapping[int, int], position: int
) -> Draw:
    """One token as it was drawn.

    Args:
        first_seen: where in the sequence each id stands first.
        position: where the token stands.
    """
    ids = [candidate.token_id for candidate in likeliest]
    return Draw(
        logprobs=[candidate.logprob for candidate in likeliest],
        place=ids.index(token_id) if token_id in ids else len(ids),
        seen=[first_seen.get(id, position) < position for id in ids],
    )
