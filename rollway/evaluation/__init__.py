"""Batch evaluation: many rollouts, many processes, one run directory, and a reliable score.

The evaluator is imported on first use, so that importing only the statistics is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollway.evaluation.conclusion import RunFailed, RunInterrupted
    from rollway.evaluation.config import EvalConfig
    from rollway.evaluation.config_files import load_config
    from rollway.evaluation.rollout import run_rollout
    from rollway.evaluation.run import evaluate, evaluate_async
    from rollway.evaluation.run_directory import read_trajectories
    from rollway.evaluation.summary import RunSummary

__all__ = [
    "EvalConfig",
    "RunFailed",
    "RunInterrupted",
    "RunSummary",
    "evaluate",
    "evaluate_async",
    "load_config",
    "read_trajectories",
    "run_rollout",
]

_LATE = {
    "EvalConfig": "rollway.evaluation.config",
    "RunFailed": "rollway.evaluation.conclusion",
    "RunInterrupted": "rollway.evaluation.conclusion",
    "RunSummary": "rollway.evaluation.summary",
    "evaluate": "rollway.evaluation.run",
    "evaluate_async": "rollway.evaluation.run",
    "load_config": "rollway.evaluation.config_files",
    "read_trajectories": "rollway.evaluation.run_directory",
    "run_rollout": "rollway.evaluation.rollout",
}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)
