"""What a run is asked for: which tasks, which samples of each, and the seed of every rollout.

The key of a rollout is (task_id, sample_index). The set of keys, their order and their seeds depend on the
config and the environment alone, so a run that is started again asks for the very same rollouts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from rollway.environments.base import Environment, Task, environment_name
from rollway.errors import UserError, nearest
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.tapes import Recorded

Key = tuple[str, int]


class Job(msgspec.Struct, frozen=True):
    """One rollout to be done."""

    task: Task
    task_id: str
    sample_index: int
    seed: int | None
    replay: Recorded | None = None  # the record that its tool calls are answered from

    @property
    def key(self) -> Key:
        return (self.task_id, self.sample_index)


class TaskSet:
    """The tasks of a run. Rows of a dataset are read when a job needs them, not before."""

    def __init__(self, rows: Any, positions: Mapping[str, int], where: str) -> None:
        self._where = where  # for complaints
        self._rows = rows
        self._positions = positions
        self.ids: Sequence[str] = list(positions)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, task_id: str) -> Task:
        """The task of this id.

        Raises:
            UserError: its row cannot be read.
        """
        try:
            return self._read(task_id)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise UserError(f"{self._where}: task {task_id!r} cannot be read: {told}") from error

    def _read(self, task_id: str) -> Task:
        row: Task = self._rows[self._positions[task_id]]
        return row

    def jobs(
        self,
        config: EvalConfig,
        done: Container[Key],
        record: Callable[[Key], Recorded | None] | None = None,
        *,
        lost: Callable[[Job, Exception], None] | None = None,
    ) -> Iterator[Job]:
        """What is not ``done``, the samples of a task one after the other.

        ``record`` gives what a rollout's calls are answered from. A job whose task or record cannot be read
        goes to ``lost``, with no more of its task than the id, and the others follow; without ``lost`` what
        was raised ends them.
        """
        for task_id in self.ids:
            for sample in range(config.samples):
                if (task_id, sample) in done:
                    continue
                seed = rollout_seed(config.seed, task_id, sample)
                try:
                    replay = record((task_id, sample)) if record is not None else None
                    job = Job(self._read(task_id), task_id, sample, seed, replay)
                except Exception as error:
                    if lost is None:
                        raise
                    lost(Job({"task_id": task_id}, task_id, sample, seed), error)
                    continue
                yield job


def rollout_seed(seed: int | None, task_id: str, sample_index: int) -> int | None:
    """The seed of one rollout, 0 <= seed < 2**31, fixed by the run's seed and the key alone."""
    if seed is None:
        return None
    digest = hashlib.blake2b(f"{seed}\0{task_id}\0{sample_index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def load_tasks(environment: Environment, config: EvalConfig) -> TaskSet:
    """The tasks that ``config`` asks for.

    Raises:
        UserError: no such split, a task without an id, an id given twice, or one asked for that is not there.
    """
    name = environment_name(environment)
    split = config.split or "test"
    limit = config.tasks if config.task_ids is None else None
    try:
        rows = environment.tasks(split)
        if not (hasattr(rows, "__getitem__") and hasattr(rows, "__len__")) or isinstance(rows, Mapping):
            rows = list(islice(rows, limit))
        where = f"environment {name!r}, split {split!r}"
        positions = _positions(rows, limit, where)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"environment {name!r} has no tasks for split {split!r}: {_told(error)}") from error
    if not positions:
        raise UserError(f"environment {name!r} has no tasks in split {split!r}")
    return TaskSet(rows, _chosen(positions, config, name, split), where)


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _positions(rows: Any, limit: int | None, where: str) -> dict[str, int]:
    positions: dict[str, int] = {}
    for index, task_id in enumerate(_ids(rows, limit, where)):
        if not _is_id(task_id):
            raise UserError(
                f"{where}: task {index} has the task_id {task_id!r}; give each task a 'task_id' that is "
                f"a text or an integer"
            )
        if str(task_id) in positions:
            raise UserError(f"{where}: two tasks have the task_id {task_id!r}; task_ids must be unique")
        positions[str(task_id)] = index
    return positions


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return value != "" and not any("\ud800" <= letter <= "\udfff" for letter in value)  # can be written
    return isinstance(value, int) and not isinstance(value, bool)


def _ids(rows: Any, limit: int | None, where: str) -> Iterator[Any]:
    if hasattr(rows, "column_names"):  # a datasets.Dataset: one column, without decoding whole rows
        if "task_id" not in rows.column_names:
            raise UserError(f"{where}: the dataset has no column 'task_id': {', '.join(rows.column_names)}")
        yield from islice(rows["task_id"], limit)
        return
    for index, row in enumerate(islice(rows, limit)):
        if not isinstance(row, Mapping):
            raise UserError(f"{where}: task {index} is a {type(row).__name__}; a task must be a dict")
        yield row.get("task_id")


def _chosen(positions: dict[str, int], config: EvalConfig, name: str, split: str) -> dict[str, int]:
    if config.task_ids is None:
        return positions
    asked = [str(task_id) for task_id in config.task_ids]
    for task_id in asked:
        if task_id not in positions:
            raise UserError(
                f"task_ids: environment {name!r} has no task {task_id!r} in split {split!r}"
                f"{nearest(task_id, positions)}"
            )
    return {task_id: positions[task_id] for task_id in asked}
