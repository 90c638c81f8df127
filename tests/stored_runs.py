"""Records as a run directory holds them, and a disk that is full, for tests of what it promises."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run_directory import RunDirectory, Wanted, open_run, read_trajectories
from rollway.keys import Key
from rollway.trajectory import StopReason, Trajectory, encode_trajectory

CONFIG = EvalConfig(environment="calculator", split="test", samples=2)


def line(
    key: Key, *, reward: float | None = 1.0, stop: StopReason = StopReason.COMPLETED, **more: object
) -> bytes:
    """A rollout that ended, as it is written, without the line's end."""
    task_id, sample = key
    return encode_trajectory(
        Trajectory(
            id=f"{task_id}-{sample}",
            messages=[{"role": "user", "content": "hé"}],
            task_id=task_id,
            sample_index=sample,
            reward=reward,
            stop_reason=stop,
            **more,
        )
    )


def opened(path: Path, asked: Callable[[Key], bool] = lambda key: True) -> RunDirectory:
    """A run of `CONFIG`, open and cleaned."""
    run = open_run(path, CONFIG)
    run.take_stock(Wanted(asked))
    run.clear_away()
    return run


def keys(path: Path) -> list[Key]:
    """The keys on record, in their order."""
    return [(t.task_id, t.sample_index) for t in read_trajectories(path)]


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A write beyond it is cut short and the next one fails, as on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    keeps_none = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # Python would keep half a file of what is imported meanwhile
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = keeps_none
