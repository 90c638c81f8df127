"""What offline scoring leaves beside a run: a row for each stored rollout, and their numbers."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rollway.statistics import Estimate, clustered_mean_of_sums, mean_of_asked, mean_of_tasks
from rollway.sums import RunningSum
from rollway.trajectory import ErrorRecord

SCORES_VERSION = 1


class ScoreRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of ``scores/<name>.jsonl``."""

    task_id: str
    sample_index: int
    trajectory_id: str
    rewards: dict[str, float] = {}  # by function, before weights; a function that raised is absent
    reward: float | None = None  # the weighted sum; None when not scored
    error: ErrorRecord | None = None  # why it was not scored


class Comparison(msgspec.Struct, frozen=True):
    """Two scores of the same rollouts. All estimates are over the pairs, clustered by task."""

    against: str  # "recorded", or the other score's name
    old: Estimate | None  # None when no rollout has both scores
    new: Estimate | None
    difference: Estimate | None  # new - old, rollout by rollout
    only_old: int  # rollouts that only the old score has
    only_new: int


class ScoreSummary(msgspec.Struct, kw_only=True):
    """``scores/<name>.summary.json``. Counts are of rollouts: on_record = scored + failed."""

    schema_version: int = SCORES_VERSION
    name: str
    rewards_from: str  # "path/to/file.py:function", or the environment
    on_record: int
    scored: int
    failed: int  # the sum of `failures`
    failures: dict[str, int]  # kind -> n: "reward_error: right: KeyError", "rollout: model_error"
    missing: int | None  # asked for and not on record; None when the run has no summary yet
    torn_lines: int  # last lines that were not whole; not counted
    mean_reward: Estimate | None  # over the scored rollouts
    mean_reward_of_asked: Estimate | None  # failed and missing as 0; None when not known what was asked
    rewards: dict[str, Estimate]  # by function, before weights
    comparisons: list[Comparison]
    allowed: list[str] = []  # "changed-tasks": tasks were not what they were when the run was made
    source: dict[str, str] = {}  # the files of the functions, with their digests
    changed_source: list[str] = []  # of the environment's rewards: what has changed since the run was made


class Means:
    """Sums by task, of which clustered means are wanted in the end."""

    def __init__(self) -> None:
        self._sums: dict[str, RunningSum] = {}

    def add(self, task_id: str, value: float | Fraction) -> None:
        self._sums.setdefault(task_id, RunningSum()).add(value)

    def estimate(self) -> Estimate | None:
        """``None`` without a value."""
        return mean_of_tasks(self._sums.values())

    def estimate_of_differences(self) -> Estimate | None:
        """For values that could have been negative, also where none is."""
        return clustered_mean_of_sums([(one.total, one.count) for one in self._sums.values()])

    def estimate_of_all(self, tasks: int, samples: int) -> Estimate | None:
        """With 0 for whatever is missing of ``samples`` values for each of ``tasks``."""
        return mean_of_asked(self._sums.values(), tasks=tasks, samples=samples)


class Tally:
    """Takes the rows as they come, each with the score that it is compared with."""

    def __init__(self) -> None:
        self.on_record = 0
        self.scored = 0
        self.failures: dict[str, int] = {}
        self.rewards: dict[str, Means] = {}
        self.mean = Means()

    def add(self, row: ScoreRow) -> None:
        self.on_record += 1
        if row.reward is None:
            kind = failure_kind(row)
            self.failures[kind] = self.failures.get(kind, 0) + 1
            return
        self.scored += 1
        self.mean.add(row.task_id, row.reward)
        for name, value in row.rewards.items():
            self.rewards.setdefault(name, Means()).add(row.task_id, value)

    def largest_failures(self) -> dict[str, int]:
        return dict(sorted(self.failures.items(), key=lambda item: (-item[1], item[0])))

    def reward_means(self) -> dict[str, Estimate]:
        estimates = {name: means.estimate() for name, means in self.rewards.items()}
        return {name: estimate for name, estimate in estimates.items() if estimate is not None}


class Pairing:
    """Compares the new score with another one, rollout by rollout."""

    def __init__(self, against: str) -> None:
        self.against = against
        self._old, self._new, self._difference = Means(), Means(), Means()
        self._only_old = 0
        self._only_new = 0

    def add(self, task_id: str, old: float | None, new: float | None) -> None:
        if old is not None and new is not None:
            self._old.add(task_id, old)
            self._new.add(task_id, new)
            self._difference.add(task_id, Fraction(new) - Fraction(old))
        self._only_old += old is not None and new is None
        self._only_new += old is None and new is not None

    def comparison(self) -> Comparison:
        return Comparison(
            against=self.against,
            old=self._old.estimate(),
            new=self._new.estimate(),
            difference=self._difference.estimate_of_differences(),
            only_old=self._only_old,
            only_new=self._only_new,
        )


def failure_kind(row: ScoreRow) -> str:
    """Why a row has no reward, as `ScoreSummary.failures` names it."""
    error = row.error
    if error is None:
        return "not_scored"
    if error.where.startswith("reward:"):
        return f"reward_error: {error.where.removeprefix('reward:')}: {error.kind}"
    return f"{error.where}: {error.kind}"
