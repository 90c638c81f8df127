"""The sandboxes of one worker: what the environment asks for, as the run's configuration changes it."""

from __future__ import annotations

from rollway.environments.base import Environment, Task, environment_name
from rollway.environments.checks import check_spec
from rollway.environments.sandbox_specs import sandbox_spec
from rollway.errors import UserError
from rollway.evaluation.config import SandboxConfig
from rollway.tools.sandboxes import Sandbox, SandboxSpec
from rollway.tools.sandboxes.pools import SandboxPools


class RunSandboxes:
    """Hands out fresh sandboxes. To be made and closed on the event loop of the rollouts."""

    def __init__(self, config: SandboxConfig) -> None:
        self._changes = config.changes
        self._pools = SandboxPools(warm=config.warm, most=config.most)

    async def open_for(self, environment: Environment, task: Task) -> Sandbox | None:
        """See `rollway.evaluation.rollout.SandboxSource`."""
        spec = sandbox_spec(environment, task, self._changes)
        return None if spec is None else await self._pools.acquire(spec)

    async def release(self, sandbox: Sandbox) -> None:
        """See `rollway.evaluation.rollout.SandboxSource`."""
        await self._pools.release(sandbox)

    async def close(self) -> None:
        """Close every sandbox that is still there."""
        await self._pools.close()


def wanted_sandbox(environment: Environment, task: Task, config: SandboxConfig) -> SandboxSpec | None:
    """What sandbox a task's rollouts get, as far as that can be said without starting any.

    Raises:
        UserError: the environment or the run asks for one that cannot be meant.
    """
    name = environment_name(environment)
    try:
        spec = environment.sandbox_for(task)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"environment {name!r}: sandbox_for({task['task_id']!r}) raised {type(error).__name__}: {error}"
        ) from error
    check_spec(environment, spec)
    wanted = sandbox_spec(environment, task, config.changes)
    if wanted is not None and config.image is not None and wanted.image is None:
        raise UserError(
            f"sandbox.image requires docker or podman, not {wanted.backend}; add --sandbox podman"
        )
    return wanted
