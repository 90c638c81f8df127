"""Whether a trajectory's turns and its sequences say the same, token by token. No server is asked.

The invariant that is checked: the sampled tokens of every trainable turn stand in exactly one sequence with
mask 1, with that turn's ids, logprobs and weight versions, behind the very ids of its prompt; and nothing
else has mask 1. It is checked on what is stored, by other code than that which wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rollway.sequences import fit_of_prompt
from rollway.trajectory import TokenSequence, Trajectory, Turn
from rollway.verification.records import Begun, Mismatch, TurnMismatch


class Span(NamedTuple):
    """Where a turn's sampled tokens stand in a sequence: positions ``start`` to ``stop``."""

    sequence: int
    turn: int
    start: int
    stop: int


class Structure(NamedTuple):
    """What one trajectory's record says of itself."""

    mismatches: list[TurnMismatch]
    spans: list[Span]  # of the sequences that are well formed
    malformed: set[int]  # the other sequences
    fits: list[str]  # one for each turn that follows another
    begun: list[Begun]  # one for each sequence


def check_structure(trajectory: Trajectory) -> Structure:
    """Compare a trajectory's turns with its sequences, in time linear in what is stored."""
    faults = _Faults(trajectory)
    spans, malformed = _spans(trajectory, faults)
    by_turn: dict[int, list[Span]] = {}
    for span in spans:
        by_turn.setdefault(span.turn, []).append(span)
    walk = _Walk(trajectory)
    for turn in trajectory.turns:
        fault = walk.step(turn, by_turn.get(turn.index, []))
        if fault is not None:
            faults.add(turn, *fault)
    return Structure(
        mismatches=faults.found,
        spans=spans,
        malformed=malformed,
        fits=walk.fits,
        begun=[_begun(trajectory, sequence) for sequence in trajectory.sequences],
    )


class _Faults:
    """Those of one trajectory, each turn at most once."""

    def __init__(self, trajectory: Trajectory) -> None:
        self.found: list[TurnMismatch] = []
        self._trajectory = trajectory
        self._turns: set[int] = set()

    def add(self, turn: Turn, kind: Mismatch, detail: str) -> None:
        if turn.index not in self._turns:
            self._turns.add(turn.index)
            self._add(turn.index, kind, detail, len(turn.token_ids or ()))

    def add_sequence(self, kind: Mismatch, detail: str) -> None:
        self._add(None, kind, detail, 0)  # the turns that are lost with it count their own tokens

    def _add(self, turn: int | None, kind: Mismatch, detail: str, tokens: int) -> None:
        record = self._trajectory
        self.found.append(
            TurnMismatch(record.id, record.task_id, record.sample_index, turn, kind, detail, tokens)
        )


def _spans(trajectory: Trajectory, faults: _Faults) -> tuple[list[Span], set[int]]:
    spans, malformed = [], set()
    for number, sequence in enumerate(trajectory.sequences):
        fault = _fault_of_sequence(sequence, len(trajectory.turns))
        if fault is not None:
            malformed.add(number)
            faults.add_sequence(Mismatch.MALFORMED, f"sequence {number}: {fault}")
            continue
        marks = zip(sequence.loss_mask, sequence.turn_index, strict=True)
        position = 0
        for (mask, turn), run in groupby(marks):
            length = sum(1 for _ in run)
            if mask:
                spans.append(Span(number, turn, position, position + length))
            position += length
    return spans, malformed


def _fault_of_sequence(sequence: TokenSequence, turns: int) -> str | None:
    length = len(sequence.token_ids)
    for name in ("loss_mask", "turn_index", "logprobs", "weight_versions"):
        values = getattr(sequence, name)
        if values is not None and len(values) != length:
            return f"{length} token ids, but {len(values)} entries in {name}"
    if not set(sequence.loss_mask) <= {0, 1}:
        return "a mask that is neither 0 nor 1"
    if sequence.turn_index and not 0 <= min(sequence.turn_index) <= max(sequence.turn_index) < turns:
        return f"a turn_index outside the {turns} turns"
    if sequence.loss_mask[:1] == [1]:
        return "its first token has mask 1 but no context"
    if sequence.logprobs is not None:
        pairs = zip(sequence.logprobs, sequence.loss_mask, strict=True)
        if any(logprob != 0.0 for logprob, mask in pairs if not mask):
            return "a logprob other than 0 where the mask is 0"
    return None


_Fault = tuple[Mismatch, str]


class _Walk:
    """Goes through the turns with the ids of the conversation so far: ``None`` where they cannot be known.

    A part of a sequence that was found equal to them is not compared again.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self.fits: list[str] = []  # one for each turn that follows another
        self._sequences = trajectory.sequences
        self._ids: list[int] | None = []
        self._before: Turn | None = None
        self._agreed = (-1, 0)  # a sequence, and how many of its first ids are those of the conversation

    def step(self, turn: Turn, spans: Sequence[Span]) -> _Fault | None:
        """What is wrong with the next turn, whose sampled tokens stand at ``spans`` with mask 1."""
        if self._before is not None:
            self.fits.append(_fit(self._before, turn, self._ids))
        self._before = turn
        fault = self._take_prompt(turn)
        if turn.untrainable is not None:
            fault = (
                (Mismatch.UNTRAINABLE_TRAINED, f"untrainable ({turn.untrainable}), but has mask 1")
                if spans
                else None
            )
        elif fault is None:
            fault = self._check(turn, spans)
        if self._ids is not None and turn.prompt_token_ids is not None:
            self._ids += turn.token_ids or []
        return fault

    def _take_prompt(self, turn: Turn) -> _Fault | None:
        """Go on to the end of the turn's prompt."""
        known = 0 if self._ids is None else len(self._ids)
        if turn.prompt_token_ids is None:
            self._ids, self._agreed = [], (-1, 0)
            return Mismatch.NOT_IN_ONE_SEQUENCE, "it has no prompt ids and gives no reason"
        if turn.prompt_shared > known:
            lost = self._ids is None
            self._ids, self._agreed = None, (-1, 0)
            return Mismatch.PROMPT, (
                "the prompt of an earlier turn cannot be rebuilt"
                if lost
                else f"it shares {turn.prompt_shared} ids, the turn before has {known}"
            )
        self._ids = [] if self._ids is None else self._ids
        del self._ids[turn.prompt_shared :]
        self._ids += turn.prompt_token_ids
        sequence, length = self._agreed
        self._agreed = (sequence, min(length, turn.prompt_shared))
        return None

    def _check(self, turn: Turn, spans: Sequence[Span]) -> _Fault | None:
        assert self._ids is not None  # there was a prompt
        if turn.token_ids is None:
            return Mismatch.NOT_IN_ONE_SEQUENCE, "it has no token ids and gives no reason"
        counted, length = turn.usage.prompt_tokens, len(self._ids)
        if counted and counted != length and not turn.resumes:
            return Mismatch.PROMPT_LENGTH, f"the server counted {counted} tokens, the record has {length}"
        if not turn.token_ids and not spans:
            return None
        if len(spans) != 1:
            return Mismatch.NOT_IN_ONE_SEQUENCE, f"its tokens appear in {len(spans)} places with mask 1"
        return self._check_tokens(turn, spans[0]) or self._check_context(spans[0])

    def _check_context(self, span: Span) -> _Fault | None:
        assert self._ids is not None
        if span.start != len(self._ids):
            return Mismatch.OTHER_CONTEXT, (
                f"{span.start} ids precede it, but its prompt has {len(self._ids)}"
            )
        sequence, length = self._agreed
        new = slice(length if sequence == span.sequence else 0, span.start)
        if self._sequences[span.sequence].token_ids[new] != self._ids[new]:
            return Mismatch.OTHER_CONTEXT, "the ids before it are not its prompt's"
        self._agreed = (span.sequence, span.stop)  # the tokens at the span are the turn's own
        return None

    def _check_tokens(self, turn: Turn, span: Span) -> _Fault | None:
        sequence, where = self._sequences[span.sequence], slice(span.start, span.stop)
        if sequence.token_ids[where] != turn.token_ids:
            return Mismatch.OTHER_TOKENS, "the sequence's ids differ from the sampled ids"
        if sequence.logprobs is not None and sequence.logprobs[where] != turn.logprobs:
            return Mismatch.OTHER_TOKENS, "the sequence's logprobs differ from the turn's"
        versions = sequence.weight_versions
        labels = [None] * (span.stop - span.start) if versions is None else versions[where]
        if labels != list(_versions(turn)):
            return Mismatch.OTHER_TOKENS, "the sequence's weight versions differ from the turn's"
        return None


def _versions(turn: Turn) -> Iterator[str | None]:
    """The version of each sampled token; None where it is uncertain or not named."""
    for position in range(len(turn.token_ids or ())):
        span = next((span for span in turn.weight_versions if span.start <= position < span.end), None)
        if span is not None:
            yield span.version if span.until is None else None
        else:
            yield None if turn.weight_versions else turn.weight_version


def _fit(before: Turn, turn: Turn, ids: list[int] | None) -> str:
    """How a prompt follows the turn before, with the reason where it does not extend it."""
    fit, reason = turn.prompt_fit, turn.prompt_fit_reason
    if fit is None and ids and before.token_ids is not None and turn.prompt_token_ids is not None:
        # Without a tokenizer only the number of shared ids counts, not what the prompt goes on with.
        fit, reason = fit_of_prompt(ids, len(before.token_ids), (), turn.prompt_shared)
    if fit is None:
        return "unknown"
    return fit.value if reason is None else f"{fit.value}: {reason.value}"


def _begun(trajectory: Trajectory, sequence: TokenSequence) -> Begun:
    first = sequence.turn_index[0] if sequence.turn_index else 0
    turn = trajectory.turns[first] if 0 <= first < len(trajectory.turns) else None
    if turn is None or first == 0:
        return Begun.FIRST
    if trajectory.turns[first - 1].untrainable is not None:
        return Begun.AFTER_UNTRAINABLE
    return Begun.REALIGNED if turn.prompt_fit == "realigned" else Begun.FORKED
