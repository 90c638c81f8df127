"""What a run is asked for: which tasks, which samples of each, and the seed of every rollout.

The key of a rollout is (task_id, sample_index). The set of keys, their order and their seeds depend on the
config and the environment alone, so a run that is started again asks for the very same rollouts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import islice
from typing import Any, Protocol

import msgspec

from rollway.data import DataRows
from rollway.data.rows import is_id
from rollway.environments.base import Environment, Task, environment_name
from rollway.errors import UserError, nearest
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.tapes import Recorded
from rollway.keys import Key as Key  # of a rollout, (task_id, sample_index)
from rollway.scoring.left_sandboxes import LeftSandbox

MOST_COMPARED = 10_000
"""Ids of data that one which is not there is compared with."""


class Unscored(msgspec.Struct, frozen=True):
    """A stored rollout that lacks only a score."""

    line: bytes  # an encoded Trajectory
    left: LeftSandbox | None = None  # the sandbox that it left, where a reward looks into it


class Job(msgspec.Struct, frozen=True):
    """One rollout to be done."""

    task: Task
    task_id: str
    sample_index: int
    seed: int | None
    replay: Recorded | None = None  # the record that its tool calls are answered from
    unscored: Unscored | None = None  # its stored rollout, which lacks only a score: it is not sampled

    @property
    def key(self) -> Key:
        return (self.task_id, self.sample_index)


class Rows(Protocol):
    """Tasks in a stable order: a list that an environment made (`ListedRows`), or data (`DataRows`)."""

    def __len__(self) -> int: ...

    def ids(self) -> Iterator[str]:
        """All ids in order."""
        ...

    def given_ids(self) -> Set[str] | None:
        """All ids; None: they are known when the rows are read, not before."""
        ...

    def entries(self, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, Callable[[], Task]]]:
        """The ids that are wanted, in order, and what reads the task of each."""
        ...


class ListedRows:
    """Rows that can be had by their number, or a dataset's; each is read when it is needed."""

    def __init__(self, rows: Any, positions: Mapping[str, Any]) -> None:
        self._rows = rows
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def ids(self) -> Iterator[str]:
        return iter(self._positions)

    def given_ids(self) -> Set[str]:
        return self._positions.keys()

    def entries(self, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, Callable[[], Task]]]:
        for task_id, position in self._positions.items():
            if is_wanted(task_id):
                yield task_id, partial(self._rows.__getitem__, position)


class TaskSet:
    """The tasks of a run. Their number is known; rows are read when jobs need them, not before."""

    def __init__(self, rows: Rows, where: str) -> None:
        self._rows = rows
        self._where = where  # for complaints

    def __len__(self) -> int:
        return len(self._rows)

    def ids(self) -> Iterator[str]:
        """The ids in order. Of data without any, all rows are read for them."""
        return self._rows.ids()

    def given_ids(self) -> Set[str] | None:
        """The ids; None: of data without any, they are made while its rows are read."""
        return self._rows.given_ids()

    def entries(self, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, Callable[[], Task]]]:
        """The ids that are wanted, in order, and what reads the task of each."""
        return self._rows.entries(is_wanted)

    def first(self) -> Task:
        """The first task.

        Raises:
            UserError: it cannot be read.
        """
        task_id, read = next(self._rows.entries(lambda task_id: True))
        try:
            return read()
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise UserError(f"{self._where}: task {task_id!r} cannot be read: {told}") from error

    def jobs(
        self,
        config: EvalConfig,
        done: Container[Key],
        record: Callable[[Key], Recorded | None] | None = None,
        *,
        unscored: Callable[[Key, Task], Unscored | None] = lambda key, task: None,
        saw: Callable[[str, Task], None] = lambda task_id, task: None,
        lost: Callable[[Job, Exception], None] | None = None,
    ) -> Iterator[Job]:
        """What is not ``done``, the samples of a task one after the other.

        ``record`` gives what a rollout's calls are answered from, ``unscored`` the stored rollout that lacks
        only a score; ``saw`` is told of each task before its first job. A job whose task or record cannot be
        read goes to ``lost``, with no more of its task than the id, and the others follow; without ``lost``
        what was raised ends them.

        Raises:
            UserError: data can be read no further.
        """
        samples = range(config.samples)
        for task_id, read in self.entries(lambda one: any((one, n) not in done for n in samples)):
            is_seen = False
            for sample in samples:
                if (task_id, sample) in done:
                    continue
                seed = rollout_seed(config.seed, task_id, sample)
                try:
                    task = read()
                    stored = unscored((task_id, sample), task)
                    replay = record((task_id, sample)) if record is not None and stored is None else None
                    job = Job(task, task_id, sample, seed, replay, stored)
                except Exception as error:
                    if lost is None:
                        raise
                    lost(Job({"task_id": task_id}, task_id, sample, seed), error)
                    continue
                if not is_seen:
                    is_seen = True
                    saw(task_id, job.task)
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
    task_ids = None if config.task_ids is None else [str(task_id) for task_id in config.task_ids]
    limit = config.tasks if task_ids is None else None
    where = f"environment {name!r}, split {split!r}"
    try:
        rows = environment.tasks(split)
        if isinstance(rows, DataRows):
            return TaskSet(_of_data(rows, limit, task_ids), rows.where)
        if not (hasattr(rows, "__getitem__") and hasattr(rows, "__len__")) or isinstance(rows, Mapping):
            rows = list(islice(rows, limit))
        positions = _positions(rows, limit, where)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"environment {name!r} has no tasks for split {split!r}: {_told(error)}") from error
    if not positions:
        raise UserError(f"environment {name!r} has no tasks in split {split!r}")
    if task_ids is not None:
        positions = _chosen(positions, task_ids, f"environment {name!r}", f"in split {split!r}")
    return TaskSet(ListedRows(rows, positions), where)


def _of_data(rows: DataRows, limit: int | None, task_ids: Sequence[str] | None) -> Rows:
    """The rows that are asked for. Those that are asked for by their ids are read now."""
    if limit is not None:
        rows = rows.head(limit)
    if not len(rows):
        raise UserError(f"data: {rows.where} has no rows")
    if task_ids is None:
        return rows
    wanted = set(task_ids)
    found: dict[str, Task] = {}
    for task_id, read in rows.entries(wanted.__contains__):
        found[task_id] = read()
        if len(found) == len(wanted):
            break
    missing = next((task_id for task_id in task_ids if task_id not in found), None)
    if missing is not None:
        near = nearest(missing, islice(rows.ids(), MOST_COMPARED))
        raise UserError(f"task_ids: {rows.where} has no task {missing!r}{near}")
    return ListedRows(found, {task_id: task_id for task_id in task_ids})


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _positions(rows: Any, limit: int | None, where: str) -> dict[str, int]:
    positions: dict[str, int] = {}
    for index, task_id in enumerate(_ids(rows, limit, where)):
        if not is_id(task_id):
            raise UserError(
                f"{where}: task {index} has the task_id {task_id!r}; give each task a 'task_id' that is "
                f"a text or an integer"
            )
        if str(task_id) in positions:
            raise UserError(f"{where}: two tasks have the task_id {task_id!r}; task_ids must be unique")
        positions[str(task_id)] = index
    return positions


def _ids(rows: Any, limit: int | None, where: str) -> Iterator[Any]:
    if hasattr(rows, "column_names"):  # a datasets.Dataset: one column, without decoding whole rows
        if "task_id" not in rows.column_names:
            raise UserError(
                f"{where}: the dataset has no column 'task_id': {', '.join(rows.column_names)}; "
                f"Environment.from_dataset gives its rows ids from their content"
            )
        yield from islice(rows["task_id"], limit)
        return
    for index, row in enumerate(islice(rows, limit)):
        if not isinstance(row, Mapping):
            raise UserError(f"{where}: task {index} is a {type(row).__name__}; a task must be a dict")
        yield row.get("task_id")


def _chosen(positions: dict[str, int], task_ids: Sequence[str], what: str, where: str) -> dict[str, int]:
    for task_id in task_ids:
        if task_id not in positions:
            raise UserError(f"task_ids: {what} has no task {task_id!r} {where}{nearest(task_id, positions)}")
    return {task_id: positions[task_id] for task_id in task_ids}
