"""Counting what stored trajectories hold, and handing on their sequences to be recomputed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from rollway.trajectory import Trajectory
from rollway.verification.recompute import Job
from rollway.verification.records import Begun, Mismatch, TurnMismatch, Unchecked
from rollway.verification.structure import Structure, check_structure

EXAMPLES = 10
"""Mismatches that the report lists one by one."""


class Survey:
    """What has been read so far."""

    def __init__(self) -> None:
        self.trajectories = 0
        self.turns = 0
        self.sampled_tokens = 0
        self.dropped_stops = 0
        self.untrainable_turns: Counter[str] = Counter()
        self.untrainable_tokens = 0
        self.turns_by_fit: Counter[str] = Counter()
        self.sequences: Counter[Begun] = Counter()
        self.sequence_tokens = 0
        self.malformed_tokens = 0
        self.mismatches: Counter[Mismatch] = Counter()
        self.mismatched_tokens = 0
        self.examples: list[TurnMismatch] = []

    def jobs(self, trajectories: Iterable[Trajectory]) -> Iterator[Job]:
        """Read trajectories one by one; gives each well-formed sequence in which something was sampled."""
        for trajectory in trajectories:
            structure = check_structure(trajectory)
            self._count_turns(trajectory)
            self._count(trajectory, structure)
            for number, sequence in enumerate(trajectory.sequences):
                spans = [span for span in structure.spans if span.sequence == number]
                if spans:
                    yield Job(trajectory, sequence, spans)

    def _count_turns(self, trajectory: Trajectory) -> None:
        self.trajectories += 1
        self.turns += len(trajectory.turns)
        for turn in trajectory.turns:
            tokens = len(turn.token_ids or ())
            self.sampled_tokens += tokens
            self.dropped_stops += turn.dropped_stop is not None
            if turn.untrainable is not None:
                self.untrainable_turns[turn.untrainable.value] += 1
                self.untrainable_tokens += tokens

    def _count(self, trajectory: Trajectory, structure: Structure) -> None:
        self.turns_by_fit.update(structure.fits)
        self.sequences.update(structure.begun)
        for number, sequence in enumerate(trajectory.sequences):
            tokens = sum(mask != 0 for mask in sequence.loss_mask)
            self.sequence_tokens += tokens
            self.malformed_tokens += tokens if number in structure.malformed else 0
        for mismatch in structure.mismatches:
            self.mismatches[mismatch.kind] += 1
            self.mismatched_tokens += mismatch.tokens
            if len(self.examples) < EXAMPLES:
                self.examples.append(mismatch)

    def unchecked(self) -> Counter[Unchecked]:
        """Sampled tokens that could not even be asked for."""
        return Counter({Unchecked.MALFORMED: self.malformed_tokens} if self.malformed_tokens else {})
