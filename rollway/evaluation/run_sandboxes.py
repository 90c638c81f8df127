"""The sandboxes of one worker: what the environment asks for, as the run's configuration changes it.

The invariant: a record never waits for a sandbox to close. Those that close are counted, bounded in number
and in time, and waited for when the worker closes.
"""

from __future__ import annotations

import asyncio
import logging

from rollway.environments.base import Environment, Task, environment_name
from rollway.environments.calling import Hooks
from rollway.environments.checks import check_spec
from rollway.environments.hooks import is_own
from rollway.environments.sandbox_specs import sandbox_spec
from rollway.errors import UserError
from rollway.evaluation.config import SandboxConfig
from rollway.tools.sandboxes import Sandbox, SandboxSpec
from rollway.tools.sandboxes.pools import SandboxPools

CLOSE_SECONDS = 60.0
"""How long one sandbox may take to close."""

CLOSING_AT_MOST = 64
"""Sandboxes that close at a time. While there are so many, no other is opened."""

END_SECONDS = 20.0
"""How long the worker, when it closes, waits for sandboxes to close."""

_log = logging.getLogger(__name__)


class RunSandboxes:
    """Hands out fresh sandboxes. To be made and closed on the event loop of the rollouts."""

    def __init__(
        self,
        config: SandboxConfig,
        hooks: Hooks,
        *,
        close_seconds: float = CLOSE_SECONDS,
        closing_at_most: int = CLOSING_AT_MOST,
        end_seconds: float = END_SECONDS,
    ) -> None:
        self._changes = config.changes
        self._pools = SandboxPools(warm=config.warm, most=config.most)
        self._hooks = hooks
        self._close_seconds, self._end_seconds = close_seconds, end_seconds
        self._places = asyncio.Semaphore(closing_at_most)
        self._closing: set[asyncio.Task[None]] = set()
        self.close_failed = 0  # sandboxes that did not close

    async def open_for(self, environment: Environment, task: Task) -> Sandbox | None:
        """See `rollway.evaluation.rollout.SandboxSource`."""
        if is_own(environment, "sandbox_for"):
            name = f"sandbox_for({task['task_id']!r})"
            spec = await self._hooks.call(name, sandbox_spec, environment, task, self._changes)
        else:
            spec = sandbox_spec(environment, task, self._changes)
        if spec is None:
            return None
        async with self._places:  # one that closes has it until it is closed
            pass
        return await self._pools.acquire(spec)

    async def release(self, sandbox: Sandbox) -> None:
        """Begin to close it, and do not wait for that."""
        closing = asyncio.create_task(self._close(sandbox))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self, sandbox: Sandbox) -> None:
        try:
            async with self._places, asyncio.timeout(self._close_seconds):
                await self._pools.release(sandbox)
        except TimeoutError:
            self.close_failed += 1
            _log.error("a sandbox has not closed within %g s; it is left behind", self._close_seconds)
        except Exception as error:
            self.close_failed += 1
            _log.error("a sandbox could not be closed: %s: %s", type(error).__name__, error)

    async def close(self) -> None:
        """Close every sandbox that is still there, as far as that is done within a few seconds."""
        pools = asyncio.create_task(self._pools.close())
        left = {pools, *self._closing}
        _, late = await asyncio.wait(left, timeout=self._end_seconds)
        if late:
            _log.error("sandboxes have not closed within %g s; they are left behind", self._end_seconds)
        for closing in late:
            closing.cancel()
        await asyncio.wait(left, timeout=1.0)


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
