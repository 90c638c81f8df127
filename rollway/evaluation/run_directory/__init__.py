"""The run directory: the one place that holds what a run asked for and what came of it.

The invariant: ``trajectories/*.jsonl`` holds each key (task_id, sample_index) at most once, in whole lines,
whenever no driver is running; a crash at any moment loses at most the line that was being written. One
driver at a time: the second is refused.

    config.yaml               the resolved config
    trajectories/part-*.jsonl every rollout that ended, one line each; each start opens a part of its own
    attempts.jsonl            every try that failed or was lost; see `attempts`
    set_aside.jsonl           retried or interrupted rollouts, and torn lines; never counted
    log.txt, summary.json, report.html, lock
"""

from rollway.evaluation.run_directory.attempts import AttemptRecord, AttemptsWriter, read_attempts
from rollway.evaluation.run_directory.endings import TORN, decode_ending, is_failed
from rollway.evaluation.run_directory.opening import (
    default_path,
    discard_empty,
    holds_run,
    open_run,
    read_config,
    refuse_other_run,
    stored_config,
)
from rollway.evaluation.run_directory.parts import part_files, read_trajectories
from rollway.evaluation.run_directory.writing import RunDirectory

__all__ = [
    "TORN",
    "AttemptRecord",
    "AttemptsWriter",
    "RunDirectory",
    "decode_ending",
    "default_path",
    "discard_empty",
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
