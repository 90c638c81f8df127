"""The sandboxes of one worker: what the environment asks for, as the run's configuration changes it."""

from __future__ import annotations

from rollway.environments.base import Environment, Task
from rollway.environments.sandbox_specs import sandbox_spec
from rollway.evaluation.config import SandboxConfig
from rollway.tools.sandboxes import Sandbox, check_backend
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


def check_sandbox(environment: Environment, task: Task, config: SandboxConfig) -> None:
    """See whether this machine can give a task its sandbox.

    Raises:
        UserError: it cannot, and what to do.
    """
    spec = sandbox_spec(environment, task, config.changes)
    if spec is not None:
        check_backend(spec)
