"""Recomputing the logprob of every sampled token in its recorded context: one request for each sequence.

Every sampled token of a sequence is either compared or counted under a reason why not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rollway.inference.errors import ContextOverflow
from rollway.inference.prompt_scores import PromptScorer
from rollway.inference.scored import Scored
from rollway.trajectory import TokenSequence, Trajectory
from rollway.verification.drawn import DrawTally, draw_of
from rollway.verification.laws import Draw
from rollway.verification.records import Bounds, Drawn, TokenDifference, Unchecked
from rollway.verification.structure import Span
from rollway.verification.tally import DifferenceTally, WorstTokens

SUSPECT_FACTOR = 10.0
"""A turn is suspect when its mean difference exceeds the limit on the mean this many times."""

_NO_BOUND = 0.01  # nats: stands for the bound on the mean where there is none


class Job(NamedTuple):
    """One sequence."""

    trajectory: Trajectory
    sequence: TokenSequence
    spans: list[Span]  # the turns' sampled tokens, in their order


class Recomputed:
    """What has been compared so far.

    Args:
        weight_version: check only tokens that these weights sampled; None checks all.
        stated: what tokens were drawn with, where a trajectory does not say it.
    """

    def __init__(
        self,
        bounds: Bounds,
        weight_version: str | None = None,
        stated: Mapping[str, Any] | None = None,
    ) -> None:
        self.all = DifferenceTally()
        self.by_version: dict[str, DifferenceTally] = {}
        self.unchecked: Counter[Unchecked] = Counter()
        self.worst = WorstTokens()
        self.suspect_turns = 0
        self.suspect_from_start = 0
        self.sequences = 0
        self._suspect = SUSPECT_FACTOR * (_NO_BOUND if bounds.mean is None else bounds.mean)
        self._version = weight_version
        self._stated = stated
        self._draws: DrawTally | None = None  # once the server has given likeliest tokens
        self._without_likeliest = 0

    @property
    def drawn(self) -> Drawn:
        """Whether tokens were drawn from the distribution on record, as far as that is known."""
        if self._draws is not None:
            return self._draws.result()
        none = {"no likeliest tokens asked for or given": self._without_likeliest}
        return Drawn(tokens=0, untested=none if self._without_likeliest else {}, likeliest=0)

    async def run(
        self,
        jobs: Iterable[Job],
        scorer: PromptScorer,
        *,
        concurrency: int,
        on_done: Callable[[], None],
    ) -> None:
        """Process all jobs with limited concurrency; ``on_done`` is called after each.

        Raises:
            InferenceError: the server gave no answer to one of them; the others are given up.
        """
        shared = iter(jobs)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._work(shared, scorer, on_done))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _work(self, jobs: Iterator[Job], scorer: PromptScorer, on_done: Callable[[], None]) -> None:
        for job in jobs:
            await self._recompute(job, scorer)
            self.sequences += 1
            on_done()

    async def _recompute(self, job: Job, scorer: PromptScorer) -> None:
        if job.sequence.logprobs is None:
            self.unchecked[Unchecked.NO_LOGPROBS] += sum(span.stop - span.start for span in job.spans)
            return
        wanted = [position for span in job.spans for position in self._wanted(job.sequence, span)]
        if not wanted:
            return
        first, end = wanted[0], wanted[-1] + 1
        scores = await self._scores(job.sequence.token_ids[:end], first, scorer)
        left_out = sum(position >= first + len(scores) for position in wanted)
        if left_out:
            self.unchecked[Unchecked.CONTEXT_OVERFLOW] += left_out
            wanted = wanted[: len(wanted) - left_out]
        found = dict(zip(range(first, end), scores, strict=False))
        self._compare(job, found, frozenset(wanted))
        self._take_draws(job, found, frozenset(wanted))

    def _wanted(self, sequence: TokenSequence, span: Span) -> Iterator[int]:
        """The positions to be checked; the others are counted."""
        versions = sequence.weight_versions
        for position in range(span.start, span.stop):
            if self._version is None or (versions is not None and versions[position] == self._version):
                yield position
            else:
                self.unchecked[Unchecked.OTHER_VERSION] += 1

    async def _scores(self, token_ids: Sequence[int], start: int, scorer: PromptScorer) -> list[Scored]:
        """Logprobs from ``start`` on: all of them, all but the last, or none where the context is too short.

        Servers want room for one token more than the prompt, which a sequence that fills it does not leave.
        """
        for end in (len(token_ids), len(token_ids) - 1):
            if end > start:
                try:
                    return await scorer.score_with_likeliest(token_ids[:end], start)
                except ContextOverflow:
                    continue
        return []

    def _take_draws(self, job: Job, scores: Mapping[int, Scored], wanted: frozenset[int]) -> None:
        """Every sampled token, and the stop tokens that the record took off: to leave these out would leave
        out tokens for what they are."""
        first_seen: dict[int, int] = {}
        for position, token in enumerate(job.sequence.token_ids):
            first_seen.setdefault(token, position)
        draws: list[Draw] = []
        for span in job.spans:
            drawn = [(at, job.sequence.token_ids[at]) for at in range(span.start, span.stop) if at in wanted]
            stop = job.trajectory.turns[span.turn].dropped_stop
            if stop is not None and span.stop in scores and span.stop - 1 in wanted:
                drawn.append((span.stop, stop.token_id))
            draws += [draw_of(token, scores[at].likeliest, first_seen, at) for at, token in drawn]
        top = len(draws[0].logprobs) if draws else 0
        if not top:
            self._without_likeliest += len(draws)
            return
        if self._draws is None:
            self._draws = DrawTally(top)
        stated = job.trajectory.sampling
        self._draws.add(draws, self._stated if stated is None else stated)

    def _compare(self, job: Job, scores: Mapping[int, Scored], wanted: frozenset[int]) -> None:
        recorded = job.sequence.logprobs or []
        versions = job.sequence.weight_versions
        by_version: dict[str, list[float]] = {}
        for span in job.spans:
            positions = [position for position in range(span.start, span.stop) if position in wanted]
            differences = [scores[position].logprob - recorded[position] for position in positions]
            for position, difference in zip(positions, differences, strict=True):
                version = (None if versions is None else versions[position]) or ""
                by_version.setdefault(version, []).append(difference)
                if self.worst.reaches(abs(difference)):
                    self.worst.add(_token(job, span, position, scores[position].logprob))
            self._judge_turn(differences)
            self.all.add(differences)
        for version, found in by_version.items():
            self.by_version.setdefault(version, DifferenceTally()).add(found)

    def _judge_turn(self, differences: Sequence[float]) -> None:
        sizes = [abs(difference) for difference in differences]
        if sizes and sum(sizes) / len(sizes) > self._suspect:
            self.suspect_turns += 1
            self.suspect_from_start += sizes[0] > self._suspect


def _token(job: Job, span: Span, position: int, recomputed: float) -> TokenDifference:
    record, sequence = job.trajectory, job.sequence
    return TokenDifference(
        trajectory_id=record.id,
        task_id=record.task_id,
        sample_index=record.sample_index,
        turn=span.turn,
        offset=position - span.start,
        token_id=sequence.token_ids[position],
        recorded=(sequence.logprobs or [])[position],
        recomputed=recomputed,
    )
