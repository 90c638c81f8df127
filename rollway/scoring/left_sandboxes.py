"""The sandboxes that recorded rollouts left, for reward functions that look into them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from rollway.environments.base import Environment, Task
from rollway.environments.sandbox_specs import sandbox_spec
from rollway.errors import UserError
from rollway.scoring.stored import StoredRun
from rollway.tools.replay import Recordings, read_recordings
from rollway.tools.sandboxes import Sandbox, SandboxChanges, SandboxSpec, check_backend, open_sandbox


class LeftSandbox(msgspec.Struct, frozen=True):
    """One of them, closed: what it takes to open it again."""

    spec: SandboxSpec
    snapshot: bytes


class LeftSandboxes:
    """Those of a stored run.

    Raises:
        UserError: the run kept none, or its config says nothing that can be read of its sandboxes.
    """

    def __init__(self, run: StoredRun, environment: Environment) -> None:
        self._recordings: Recordings = read_recordings(run.path)
        self._environment = environment
        self._checked: list[SandboxSpec] = []
        self._changes = _changes(run.config().get("sandbox") or {}, run)

    def of(self, task: Task, key: tuple[str, int]) -> LeftSandbox | None:
        """``None``: the rollout left none that was kept.

        Raises:
            UserError: it was kept and is gone, or this machine cannot open it.
        """
        spec = sandbox_spec(self._environment, task, self._changes)
        if spec is None or key not in self._recordings:
            return None
        snapshot = self._recordings.sandbox(key)
        if snapshot is None:
            return None
        if spec not in self._checked:
            check_backend(spec)
            self._checked.append(spec)
        return LeftSandbox(spec, snapshot)


@asynccontextmanager
async def opened(left: LeftSandbox | None) -> AsyncIterator[Sandbox | None]:
    """A sandbox with the files of the one that was left.

    Raises:
        SandboxError: it does not start.
    """
    if left is None:
        yield None
        return
    sandbox = await open_sandbox(left.spec)
    try:
        await sandbox.restore(left.snapshot)
        yield sandbox
    finally:
        await sandbox.close()


def _changes(values: dict[str, Any], run: StoredRun) -> SandboxChanges:
    known = {name: values[name] for name in SandboxChanges.__struct_fields__ if values.get(name) is not None}
    try:
        return msgspec.convert(known, SandboxChanges)
    except msgspec.ValidationError as error:
        raise UserError(f"{run.path / 'config.yaml'}: sandbox: {error}") from None
