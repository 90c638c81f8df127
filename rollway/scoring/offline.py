"""Score a stored run again, without the model.

The run itself never changes. The trajectories are read twice, first only for their keys; memory holds at
most a few chunks of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from rollway.data import DatasetSource, find_rows
from rollway.environments.base import Environment, Reward, Task, environment_name
from rollway.environments.loading import absolute_spec, environment_source
from rollway.errors import UserError
from rollway.limits import HOOK_SECONDS
from rollway.scoring.left_sandboxes import LeftSandboxes
from rollway.scoring.lines import Job, Scored, Scorer, score_here
from rollway.scoring.ray_workers import score_on_ray
from rollway.scoring.records import Comparison, Pairing, ScoreSummary, Tally
from rollway.scoring.rewards import needs_sandbox
from rollway.scoring.score_files import ScoreFiles
from rollway.scoring.sources import (
    EnvironmentSource,
    FunctionSource,
    RewardSource,
    describe,
    function_source,
    load_rewards,
    needs_tasks,
    rewards_of,
    source_of,
)
from rollway.scoring.stored import StoredRun
from rollway.stored.identity import APPROVAL, CHANGED_TASKS, changed_files, read_identity
from rollway.stored.task_digests import changed_task

CHUNK_LINES = 64
CHUNK_BYTES = 8 * 2**20
"""Limits of a chunk: lines, and bytes of lines."""

RECORDED = "recorded"
"""In comparisons: the rewards that stand in the run itself."""

Progress = Callable[[int, int], None]
"""Called with (rollouts done, rollouts in all)."""


class ScoringInterrupted(KeyboardInterrupt):
    """Ctrl-C while a stored run was scored. The message says what is kept, and where."""


def score_run(
    run_directory: Path | str,
    *,
    reward: str | None = None,
    name: str | None = None,
    workers: int = 0,
    overwrite: bool = False,
    environment: str | None = None,
    compare: str | None = None,
    ray_address: str | None = None,
    allow_changed_tasks: bool = False,
    reward_timeout: float | None = None,
    on_progress: Progress | None = None,
) -> ScoreSummary:
    """Score every stored rollout and write the scores to the run directory. Not for a running event loop.

    Args:
        reward: ``path/to/file.py:function`` with ``function(trajectory, task)`` or ``function(trajectory)``;
            None: the environment's own rewards as they are now.
        name: of the score; None: the function's name, or ``environment``.
        workers: Ray processes; 0: this process.
        overwrite: replace an earlier score of this name.
        environment: name or file, if the run's own has moved.
        compare: name of an earlier score to compare with, in addition to the recorded rewards.
        allow_changed_tasks: score although tasks are not what they were when the run was made; the summary
            says so.
        reward_timeout: seconds that a function has for one rollout, which is not scored after that; None:
            the run's ``limits.hook_timeout``, else `HOOK_SECONDS`.

    Raises:
        UserError: a mistake in the request; nothing is written.
        ScoringInterrupted: Ctrl-C. What had been scored is in ``scores/<name>.partial.jsonl``, unless there
            is an earlier score of this name, which stays.
    """
    if reward_timeout is not None and not reward_timeout > 0:
        raise UserError(f"--reward-timeout must be positive, got {reward_timeout:g}")
    run = StoredRun(Path(run_directory))
    request = _request(run, reward, environment)
    files = ScoreFiles(run.path, name or _default_name(request.source))
    if not overwrite:
        files.refuse_to_overwrite()
    comparisons = _Comparisons(run.path, compare)
    task_ids, total = _glance(run)
    tasks = _tasks(run, request.environment, task_ids) if request.environment is not None else None
    changed = None if tasks is None else changed_task(run.path, tasks)
    if changed is not None and not allow_changed_tasks:
        raise UserError(
            f"{run.path}: {changed}: the answers on record are to another task; bring back what it was, or "
            "pass --allow-changed-tasks, which the summary then says"
        )
    chunks = _chunks(_jobs(run, tasks, _left_sandboxes(run, request)))
    timeout = reward_timeout or _hook_timeout(run)
    if workers:
        scored = score_on_ray(request.source, chunks, workers=workers, timeout=timeout, address=ray_address)
    else:
        scored = score_here(Scorer(request.rewards, timeout), chunks)
    tally = Tally()
    try:
        with files.writing() as write:
            for rows in scored:
                for each in rows:
                    write(each.row)
                    tally.add(each.row)
                    comparisons.add(each)
                if on_progress is not None:
                    on_progress(tally.on_record, total)
    except KeyboardInterrupt:
        kept = files.partial if files.partial.exists() else f"{files.rows} stays as it was"
        told = f"interrupted; {tally.on_record:,} of {total:,} rollouts were done: {kept}"
        raise ScoringInterrupted(told) from None
    summary = _summary(run, files.name, request, tally, comparisons)
    summary.allowed = [CHANGED_TASKS] if changed is not None else []
    files.write_summary(summary)
    return summary


def _hook_timeout(run: StoredRun) -> float:
    """Seconds of one call of a function, as the run had it."""
    given = (run.config().get("limits") or {}).get("hook_timeout")
    return float(given) if isinstance(given, int | float) and given > 0 else HOOK_SECONDS


class _Request(msgspec.Struct, frozen=True):
    """What is to be asked, loaded."""

    source: RewardSource
    rewards: list[Reward]
    environment: Environment | None  # for the tasks' rows; None when no function looks at them


def _request(run: StoredRun, reward: str | None, environment: str | None) -> _Request:
    if reward is None:
        own, loaded = _run_environment(run, environment)
        return _Request(own, rewards_of(loaded), loaded)
    source = function_source(reward)
    rewards = load_rewards(source)
    if not needs_tasks(source):
        return _Request(source, rewards, None)
    _, loaded = _run_environment(run, environment)
    return _Request(source, rewards, loaded)


def _run_environment(run: StoredRun, environment: str | None) -> tuple[EnvironmentSource, Environment]:
    """The run's environment, or the one given in its place, loaded."""
    config = run.config()
    spec = environment or config.get("environment")
    if not isinstance(spec, str):
        raise UserError(f"{run.path / 'config.yaml'} names no environment; pass one with --environment")
    try:
        source = EnvironmentSource(
            absolute_spec(spec), config.get("environment_args") or {}, environment_source(spec)
        )
        return source, source.load()
    except UserError as error:
        hint = (
            ""
            if environment
            else "; if the run's environment has moved, pass its new place with --environment"
        )
        raise UserError(f"{error}{hint}") from error


def _default_name(source: RewardSource) -> str:
    return source.function if isinstance(source, FunctionSource) else "environment"


def _glance(run: StoredRun) -> tuple[set[str], int]:
    """The ids of the tasks that stand in the run, and the number of its lines."""
    task_ids: set[str] = set()
    total = 0
    for stored in run.lines():
        task_ids.add(stored.task_id)
        total += 1
    return task_ids, total


def _tasks(run: StoredRun, environment: Environment, wanted: set[str]) -> dict[str, Task]:
    """The rows of the tasks that stand in the run.

    Raises:
        UserError: the environment has none of them.
    """
    config = run.config()
    split = config.get("split") or ("train" if config.get("groups") else "test")
    limit = None if config.get("task_ids") else config.get("tasks")
    where = f"environment {environment_name(environment)!r}, split {split!r}"
    found: dict[str, Task] = {}
    try:
        for task in islice(_rows(config, environment, split), limit):
            if str(task["task_id"]) in wanted:
                found[str(task["task_id"])] = task
                if len(found) == len(wanted):
                    break
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: its tasks cannot be read: {type(error).__name__}: {error}") from error
    if wanted and not found:
        raise UserError(f"{where} has none of the {len(wanted)} tasks of {run.path}, such as {min(wanted)!r}")
    return found


def _rows(config: Mapping[str, Any], environment: Environment, split: str) -> Iterable[Task]:
    """All tasks of the split: the data that the run was over, or the environment's own."""
    data = config.get("data")
    if data is None:
        return environment.tasks(split)
    source = DatasetSource(data["source"], data.get("name"), data.get("split"), data.get("revision"))
    return find_rows(source, source.split or split, fingerprint=data.get("fingerprint")).rows


def _left_sandboxes(run: StoredRun, request: _Request) -> LeftSandboxes | None:
    """The sandboxes that the run kept, where a reward function looks into them.

    Raises:
        UserError: one does, and the run kept none.
    """
    looking = [reward.name for reward in request.rewards if needs_sandbox(reward.function)]
    if not looking or request.environment is None:
        return None
    try:
        return LeftSandboxes(run, request.environment)
    except UserError as error:
        raise UserError(f"reward {looking[0]!r} needs the sandbox of each rollout: {error}") from None


def _jobs(run: StoredRun, tasks: Mapping[str, Task] | None, sandboxes: LeftSandboxes | None) -> Iterator[Job]:
    for stored in run.lines():
        if tasks is None:
            yield Job(stored, None)
            continue
        task = tasks.get(stored.task_id)
        left = None
        if sandboxes is not None and task is not None:
            left = sandboxes.of(task, (stored.task_id, stored.sample_index))
        yield Job(stored, task, task_known=task is not None, left=left)


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    chunk: list[Job] = []
    size = 0
    for job in jobs:
        chunk.append(job)
        size += len(job.stored.line) + (len(job.left.snapshot) if job.left is not None else 0)
        if len(chunk) == CHUNK_LINES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _Comparisons:
    """The new score against the recorded one, and against an earlier one where it is asked for."""

    def __init__(self, run: Path, compare: str | None) -> None:
        self._recorded = Pairing(RECORDED)
        self._earlier: dict[tuple[str, int], float | None] = {}
        self._pairing: Pairing | None = None
        if compare is not None:
            self._earlier = ScoreFiles(run, compare).read_rewards()
            self._pairing = Pairing(compare)

    def add(self, scored: Scored) -> None:
        row = scored.row
        self._recorded.add(row.task_id, scored.recorded, row.reward)
        if self._pairing is not None:
            self._pairing.add(row.task_id, self._earlier.get((row.task_id, row.sample_index)), row.reward)

    def all(self) -> list[Comparison]:
        pairings = [self._recorded] if self._pairing is None else [self._recorded, self._pairing]
        return [pairing.comparison() for pairing in pairings]


def _summary(
    run: StoredRun, name: str, request: _Request, tally: Tally, comparisons: _Comparisons
) -> ScoreSummary:
    asked = run.asked()
    source = source_of(request.source)
    known = asked is not None and asked.asked >= tally.on_record
    return ScoreSummary(
        name=name,
        rewards_from=describe(request.source),
        on_record=tally.on_record,
        scored=tally.scored,
        failed=tally.on_record - tally.scored,
        failures=tally.largest_failures(),
        missing=asked.asked - tally.on_record if asked is not None and known else None,
        torn_lines=run.torn_lines,
        mean_reward=tally.mean.estimate(),
        mean_reward_of_asked=(
            tally.mean.estimate_of_all(asked.asked // asked.samples, asked.samples)
            if asked is not None and known
            else None
        ),
        rewards=tally.reward_means(),
        comparisons=comparisons.all(),
        source=source,
        changed_source=_changed_source(run, request, source),
    )


def _changed_source(run: StoredRun, request: _Request, source: dict[str, str]) -> list[str]:
    """What has changed of the run's own environment, where its rewards are asked."""
    identity = read_identity(run.path)
    if identity is None or isinstance(request.source, FunctionSource):
        return []
    before = {name: digest for name, digest in identity.source.items() if not name.startswith(APPROVAL)}
    return changed_files(before, source) if before else []
