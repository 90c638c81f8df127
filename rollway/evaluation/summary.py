"""One run in numbers, built in one pass over its trajectories.

Every rollout that was asked for is counted exactly once: asked = scored + failed (by kind) + missing. What
is kept while building grows with the number of tasks, plus eight bytes per rollout and per turn for the
percentiles; no trajectory is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from rollway.evaluation.tallies import Bin, Numbers, Spread, TaskScores, capped, largest_first
from rollway.statistics import (
    Estimate,
    PassRate,
    mean_of_asked,
    mean_of_tasks,
    pass_rates,
    powers_up_to,
)
from rollway.sums import RunningSum
from rollway.trajectory import FAILURES, StopReason, Trajectory, Turn
from rollway.whole_files import write_whole

SUMMARY_VERSION = 1


class RunSummary(msgspec.Struct, kw_only=True):
    """What ``summary.json`` holds. Counts are of rollouts unless they say otherwise; times in seconds."""

    schema_version: int = SUMMARY_VERSION
    environments: list[str]  # names seen
    models: list[str]  # names seen
    tasks: int  # tasks asked for
    samples: int  # rollouts asked for per task
    # asked = scored + failed + missing
    asked: int
    finished: int  # on record: scored + failed
    scored: int
    failed: int  # the sum of `failures`
    missing: int  # asked for, and not on record
    failures: dict[str, int]  # kind -> n, as `failure_kind` names them
    # scores
    mean_reward: Estimate | None  # over the scored rollouts
    mean_reward_of_asked: Estimate | None  # over all that were asked for, failed and missing counted as 0
    rewards: dict[str, Estimate]  # each named reward before weights, over the scored rollouts
    pass_threshold: float  # a sample with at least this reward, as `passes` compares them, passed
    pass_rates: list[PassRate]  # for k = 1, 2, 4, ... and `samples`
    reward_histogram: list[Bin]
    # how the rollouts went
    stop_reasons: dict[str, int]
    turns: int  # kept model calls
    tool_calls: int
    tool_calls_by_tool: dict[str, int]
    tool_errors: dict[str, dict[str, int]]  # tool -> kind -> n; tool "" where the text named none
    # tokens and time
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None  # of the prompts; None when no server said
    retries: int  # failed tries of model calls
    retries_by_error: dict[str, int]
    turn_seconds: Spread | None
    first_token_seconds: Spread | None  # None when no reply was streamed
    rollout_seconds: Spread | None  # of rollouts that no fault or cancelling ended
    wall_seconds: float | None  # None when not known
    tokens_per_second: float | None  # sampled tokens per wall second
    weight_versions: dict[str, int]  # version -> turns that named it
    sampling: list[dict[str, Any]] = []  # the ways on record in which tokens were drawn
    sittings: int = 0  # starts in which rollouts ran; 0: not known
    allowed: list[str] = []
    """What was mixed in although it is not what the run began with: "changed-tasks", "changed-environment",
    "other-weights"."""


def failure_kind(trajectory: Trajectory) -> str | None:
    """Why a finished rollout has no score, or ``None`` when it has one.

    ``"cancelled"``, ``"suspended"``, ``"model_error: ServerUnreachable"``, ``"environment_error: KeyError"``,
    ``"reward_error: right_answer: ValueError"``, or ``"not_scored"`` when nothing was to score it.
    """
    error = trajectory.error
    reason = trajectory.stop_reason
    if reason in FAILURES:
        told = error and reason in (StopReason.MODEL_ERROR, StopReason.ENVIRONMENT_ERROR)
        return f"{reason}: {error.kind}" if told and error else str(reason)
    if trajectory.reward is not None:
        return None
    if error and error.where.startswith("reward:"):
        return f"reward_error: {error.where.removeprefix('reward:')}: {error.kind}"
    return "not_scored"


class SummaryBuilder:
    """Takes the trajectories of a run as they finish, and knows the numbers so far at any moment."""

    def __init__(self, *, pass_threshold: float = 1.0) -> None:
        self.finished = 0
        self.scored = 0
        self.failed = 0
        self.turns = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._pass_threshold = pass_threshold
        self._reward = RunningSum()
        self._cached_tokens: int | None = None
        self._tasks: dict[str, TaskScores] = {}
        self._failures: Counter[str] = Counter()
        self._stop_reasons: Counter[str] = Counter()
        self._environments: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._tool_calls: Counter[str] = Counter()
        self._tool_errors: dict[str, Counter[str]] = {}
        self._retries: Counter[str] = Counter()
        self._weight_versions: Counter[str] = Counter()
        self._sampling: list[dict[str, Any]] = []
        self._reward_values = Numbers()
        self._turn_seconds = Numbers()
        self._first_token_seconds = Numbers()
        self._rollout_seconds = Numbers()

    @property
    def mean_reward(self) -> float | None:
        """Over the scored rollouts so far; ``None`` before the first."""
        return self._reward.mean

    def add(self, trajectory: Trajectory) -> None:
        """Count one finished rollout.

        Raises:
            ValueError: this (task_id, sample_index) was added before.
        """
        task = self._tasks.setdefault(trajectory.task_id, TaskScores())
        if not task.see(trajectory.sample_index):
            raise ValueError(f"rollout {trajectory.task_id!r}/{trajectory.sample_index} was added twice")
        self.finished += 1
        self._add_score(trajectory, task)
        self._environments[trajectory.environment] += 1
        self._models[trajectory.model] += 1
        self._stop_reasons[str(trajectory.stop_reason or "none")] += 1
        if trajectory.sampling is not None and trajectory.sampling not in self._sampling:
            self._sampling.append(trajectory.sampling)
        if trajectory.stop_reason not in FAILURES:
            self._rollout_seconds.add(trajectory.timing.total)
        for turn in trajectory.turns:
            self._add_turn(turn)
        for error in trajectory.tool_errors:
            kinds = self._tool_errors.setdefault(capped(error.tool_name, self._tool_errors), Counter())
            kinds[str(error.kind)] += 1

    def _add_score(self, trajectory: Trajectory, task: TaskScores) -> None:
        kind = failure_kind(trajectory)
        if kind is not None or trajectory.reward is None:
            self.failed += 1
            self._failures[capped(kind or "not_scored", self._failures)] += 1
            return
        self.scored += 1
        self._reward.add(trajectory.reward)
        self._reward_values.add(trajectory.reward)
        task.score(trajectory.reward, trajectory.rewards, self._pass_threshold)

    def _add_turn(self, turn: Turn) -> None:
        self.turns += 1
        self.prompt_tokens += turn.usage.prompt_tokens
        self.completion_tokens += turn.usage.completion_tokens
        if turn.usage.cached_tokens is not None:
            self._cached_tokens = (self._cached_tokens or 0) + turn.usage.cached_tokens
        for call in turn.tool_calls:
            self._tool_calls[capped(call.name, self._tool_calls)] += 1
        for attempt in turn.attempts:
            self._retries[attempt.error] += attempt.times
        if turn.weight_version is not None:
            self._weight_versions[turn.weight_version] += 1
        self._turn_seconds.add(turn.timing.total)
        if turn.timing.first_token is not None:
            self._first_token_seconds.add(turn.timing.first_token)

    def build(
        self,
        *,
        asked: int,
        samples: int,
        wall_seconds: float | None = None,
        allowed: Iterable[str] = (),
        sittings: int = 0,
    ) -> RunSummary:
        """The summary of everything added, against what was asked for.

        Args:
            asked: rollouts asked for, ``samples`` for each task.
            wall_seconds: what these rollouts took, all sessions of a continued run together.
            allowed: what was mixed in, as `RunSummary.allowed` names it.
            sittings: starts in which they ran; 0: not known.

        Raises:
            ValueError: ``asked`` is no multiple of ``samples``, or more is on record than was asked for.
        """
        self._check_accounts(asked, samples)
        unseen = asked // samples - len(self._tasks)
        seen = list(self._tasks.values())
        scores = [task.reward for task in seen]
        return RunSummary(
            environments=list(self._environments),
            models=list(self._models),
            tasks=asked // samples,
            samples=samples,
            asked=asked,
            finished=self.finished,
            scored=self.scored,
            failed=self.failed,
            missing=asked - self.finished,
            failures=largest_first(self._failures),
            mean_reward=mean_of_tasks(scores),
            mean_reward_of_asked=mean_of_asked(scores, tasks=asked // samples, samples=samples),
            rewards=self._reward_means(),
            pass_threshold=self._pass_threshold,
            pass_rates=pass_rates(
                [(task.scored, task.passed) for task in seen] + [(0, 0)] * unseen, powers_up_to(samples)
            ),
            reward_histogram=self._reward_values.histogram(),
            stop_reasons=largest_first(self._stop_reasons),
            turns=self.turns,
            tool_calls=self._tool_calls.total(),
            tool_calls_by_tool=largest_first(self._tool_calls),
            tool_errors={tool: largest_first(kinds) for tool, kinds in sorted(self._tool_errors.items())},
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self._cached_tokens,
            retries=self._retries.total(),
            retries_by_error=largest_first(self._retries),
            turn_seconds=self._turn_seconds.spread(),
            first_token_seconds=self._first_token_seconds.spread(),
            rollout_seconds=self._rollout_seconds.spread(),
            wall_seconds=wall_seconds,
            tokens_per_second=self.completion_tokens / wall_seconds if wall_seconds else None,
            weight_versions=dict(self._weight_versions),
            sampling=list(self._sampling),
            sittings=sittings,
            allowed=list(dict.fromkeys(allowed)),
        )

    def _check_accounts(self, asked: int, samples: int) -> None:
        if samples < 1 or asked % samples:
            raise ValueError(f"asked ({asked}) must be a multiple of samples ({samples})")
        most = max((task.samples.bit_count() for task in self._tasks.values()), default=0)
        if len(self._tasks) * samples > asked or most > samples:
            raise ValueError(
                f"{self.finished} rollouts of {len(self._tasks)} tasks (up to {most} samples each) are on "
                f"disk, more than the {asked} ({samples} samples each) requested"
            )

    def _reward_means(self) -> dict[str, Estimate]:
        names = dict.fromkeys(name for task in self._tasks.values() for name in task.rewards)
        sums = {name: [task.rewards.get(name) for task in self._tasks.values()] for name in names}
        means = {name: mean_of_tasks(one for one in known if one) for name, known in sums.items()}
        return {name: mean for name, mean in means.items() if mean is not None}


def summarize(
    trajectories: Iterable[Trajectory],
    *,
    asked: int,
    samples: int,
    wall_seconds: float | None = None,
    pass_threshold: float = 1.0,
) -> RunSummary:
    """The summary of one run's trajectories, each read once. See `SummaryBuilder.add` and `.build`."""
    builder = SummaryBuilder(pass_threshold=pass_threshold)
    for trajectory in trajectories:
        builder.add(trajectory)
    return builder.build(asked=asked, samples=samples, wall_seconds=wall_seconds)


def write_summary(path: Path, summary: RunSummary) -> None:
    """Write ``summary.json``: the old file or the new one is there at every moment, never half of one."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")


def read_summary(path: Path) -> RunSummary:
    """Read back what `write_summary` wrote.

    Raises:
        FileNotFoundError: there is none.
        msgspec.DecodeError, UnicodeDecodeError: it is no summary of this version.
    """
    return msgspec.json.decode(path.read_bytes(), type=RunSummary)
