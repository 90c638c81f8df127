"""Which sandbox a task's rollouts get: what the environment asks for, as a run's configuration changes it."""

from __future__ import annotations

from rollway.environments.base import Environment, Task
from rollway.tools.sandboxes import SandboxChanges, SandboxSpec


def sandbox_spec(environment: Environment, task: Task, changes: SandboxChanges) -> SandboxSpec | None:
    """``None``: the rollouts get none. A run that names a backend gives one to every rollout."""
    spec = environment.sandbox_for(task)
    if spec is None and changes.backend is None:
        return None
    return changes.applied(spec or SandboxSpec())
