"""Rollouts on record that lack only a score: they are scored when the run goes on, and not sampled again.

The invariant: what such a rollout said and did stays as it is on record, whatever comes of its scoring.
"""

from __future__ import annotations

import logging

from rollway.environments.base import Environment, Task, named_rewards
from rollway.errors import UserError
from rollway.evaluation.run_directory import RunDirectory
from rollway.evaluation.tasks import Unscored
from rollway.keys import Key
from rollway.scoring import needs_sandbox
from rollway.scoring.left_sandboxes import LeftSandbox, LeftSandboxes
from rollway.scoring.stored import StoredRun

_log = logging.getLogger(__name__)


def looks_into_sandbox(environment: Environment) -> bool:
    """Does a reward look into the sandbox that the rollout left?"""
    return any(needs_sandbox(reward.function) for reward in named_rewards(environment))


class Rescoring:
    """The stored rollouts of a run that lack only a score, read when they are needed."""

    def __init__(self, run: RunDirectory, environment: Environment) -> None:
        self._run = run
        self._looks = looks_into_sandbox(environment)
        self._sandboxes = _kept_sandboxes(run, environment) if self._looks and run.unscored_count else None

    def __call__(self, key: Key, task: Task) -> Unscored | None:
        """``None``: the rollout has to be sampled, since it is not on record or its sandbox is gone.

        Raises:
            OSError: its record cannot be read.
        """
        line = self._run.unscored(key)
        if line is None or not self._looks:
            return None if line is None else Unscored(line)
        left = self._left(key, task)
        if left is None:
            _log.warning("rollout %s lacks only a score, but its sandbox was not kept; it is retried", key)
            return None
        return Unscored(line, left)

    def _left(self, key: Key, task: Task) -> LeftSandbox | None:
        try:
            return None if self._sandboxes is None else self._sandboxes.of(task, key)
        except UserError as error:
            _log.warning("the sandbox of rollout %s: %s", key, error)
            return None


def _kept_sandboxes(run: RunDirectory, environment: Environment) -> LeftSandboxes | None:
    try:
        return LeftSandboxes(StoredRun(run.path), environment)
    except UserError:  # it kept none
        return None
