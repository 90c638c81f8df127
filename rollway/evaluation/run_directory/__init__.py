"""The run directory: the one place that holds what a run asked for and what came of it.

The invariant: ``trajectories/*.jsonl`` holds each key (task_id, sample_index) at most once, in whole lines,
after every orderly end; a crash at any moment loses at most the line that was being written. The line of a
rollout that is retried leaves only when its replacement is there: after a crash both may be, and every reader
counts the one that says more (`rollway.stored.lines`). One driver at a time: the second is refused.

    config.yaml               the resolved config
    identity.json, tasks.jsonl  what it is of: digests of the source, the weights and the tasks
    trajectories/part-*.jsonl every rollout that ended, one line each; each start opens a part of its own
    attempts.jsonl            every try that failed or was lost; see `attempts`
    set_aside.jsonl           retried or interrupted rollouts, and torn lines; never counted
    log.txt, status.json, summary.json, report.html, lock
"""

from rollway.evaluation.run_directory.attempts import AttemptRecord, AttemptsWriter, read_attempts
from rollway.evaluation.run_directory.opening import (
    claim_path,
    default_path,
    discard_empty,
    holds_run,
    open_run,
    read_config,
    refuse_other_run,
    stored_config,
)
from rollway.evaluation.run_directory.parts import read_trajectories
from rollway.evaluation.run_directory.same_run import grown
from rollway.evaluation.run_directory.stock import Wanted
from rollway.evaluation.run_directory.writing import RunDirectory
from rollway.stored.lines import TORN, decode_ending, is_failed, part_files

__all__ = [
    "TORN",
    "AttemptRecord",
    "AttemptsWriter",
    "RunDirectory",
    "Wanted",
    "claim_path",
    "decode_ending",
    "default_path",
    "discard_empty",
    "grown",
    "holds_run",
    "is_failed",
    "open_run",
    "part_files",
    "read_attempts",
    "read_config",
    "read_trajectories",
    "refuse_other_run",
    "stored_config",
]
